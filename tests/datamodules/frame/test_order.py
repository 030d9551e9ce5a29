"""Hash draws and the order of images: reference values, statistics, and who gets what."""

import pytest
import torch

from datamodules.frame.order import GOLD, Order, _mix, draws, epoch_key, lend_generator, mix, permutation


def share(order, rank, world, epoch=0, start=0):
    """Indices that `order` gives to one of several processes."""
    order.rank, order.num_replicas, order.start = rank, world, start
    order.set_epoch(epoch)
    return [index for _, index in order]


def test_mix_is_splitmix64():
    # java.util.SplittableRandom's generator from seed 1234567; the usual test vector (Rosetta Code, "splitmix64")
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    ours = mix(torch.tensor(1234567) + GOLD * torch.arange(1, 6))
    assert [value % 2**64 for value in ours.tolist()] == expected


def test_mix_of_one_number_is_that_of_tensors():
    numbers = [*range(-5, 5), 2**63 - 1, -(2**63), *epoch_keys(50)]
    assert [_mix(x) for x in numbers] == [x % 2**64 for x in mix(torch.tensor(numbers)).tolist()]


def epoch_keys(count):
    return [epoch_key(0, epoch) for epoch in range(count)]


def test_each_image_may_have_a_key_of_its_own():
    index, keys = torch.tensor([3, 3, 8]), torch.tensor([7, 5, 7])
    each = [draws(index[i : i + 1], 4, keys[i].item()) for i in range(3)]
    assert torch.equal(draws(index, 4, keys), torch.cat(each))
    assert not torch.equal(each[0], each[1])


def test_seeded_draws_are_of_the_image_and_the_generator_is_put_back():
    torch.manual_seed(5)
    before = torch.get_rng_state()

    def drawn(*pairs):
        out = []
        with lend_generator() as seed:
            for key, index in pairs:
                seed(key, index)
                out.append(torch.rand(3).tolist())
        return out

    a, b, c, d = drawn((1, 2), (1, 3), (4, 2), (1, 2))
    assert a == d and a != b != c != a
    assert drawn((1, 3)) == [b]
    with pytest.raises(RuntimeError, match="in the middle"), lend_generator() as seed:
        seed(1, 2)
        raise RuntimeError("in the middle")
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_draws_are_uniform_and_are_not_those_of_draws():
    with lend_generator() as seed:
        first = torch.tensor([seed(9, i) or torch.rand(()).item() for i in range(20_000)])
    assert first.mean() == pytest.approx(0.5, abs=4 * (1 / 12 / 20_000) ** 0.5)
    assert torch.corrcoef(torch.stack([first[:-1], first[1:]]))[0, 1].abs() < 4.5 / 20_000**0.5
    both = torch.cat([first[None], draws(torch.arange(20_000), 3, 9).T])
    assert torch.corrcoef(both)[0, 1:].abs().max() < 4.5 / 20_000**0.5


def test_seeding_leaves_other_devices_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("touched the GPU"))
    with lend_generator() as seed:
        seed(1, 2)


def test_draws_are_uniform_and_independent():
    u = draws(torch.arange(50_000), 4, epoch_key(0, 0))
    assert u.min() >= 0 and u.max() < 1
    torch.testing.assert_close(u.mean(0), torch.full((4,), 0.5), rtol=0, atol=4 * (1 / 12 / 50_000) ** 0.5)
    correlation = torch.corrcoef(torch.cat([u, draws(torch.arange(50_000), 4, epoch_key(0, 1))], 1).T)
    assert (correlation - torch.eye(8)).abs().max() < 4.5 / 50_000**0.5
    neighbours = torch.corrcoef(torch.stack([u[:-1, 0], u[1:, 0]]))[0, 1]
    assert neighbours.abs() < 4.5 / 50_000**0.5
    counts = (u * 100).long()[:, 0].bincount(minlength=100).float()
    assert ((counts - 500) ** 2 / 500).sum() < 149  # chi-squared with 99 degrees of freedom, p = 0.001


def test_draws_depend_on_the_image_not_on_the_batch():
    index = torch.randperm(100)
    whole = draws(torch.arange(100), 3, 7)
    assert torch.equal(draws(index[:10], 3, 7), whole[index[:10]])
    assert torch.equal(draws(index[:10], 2, 7), whole[index[:10], :2])


def test_a_draw_times_a_whole_number_stays_below_it():
    largest = torch.tensor(1 - 2**-24)
    assert all((largest * n).long() == n - 1 for n in range(1, 2000))


def test_keys_differ():
    keys = [epoch_key(seed, epoch) for seed in (0, 1, 2, -1, 2**32) for epoch in range(50)]
    assert len(set(keys)) == len(keys)


def test_permutations_are_uniform():
    first = torch.stack([permutation(10, epoch_key(0, epoch)) for epoch in range(2000)])
    assert (first.sort(1).values == torch.arange(10)).all()
    counts = torch.stack([first[:, place].bincount(minlength=10) for place in range(10)]).float()
    assert ((counts - 200) ** 2 / 200).sum() < 126  # 81 degrees of freedom, p = 0.001


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_each_image_once(world):
    order = Order(torch.arange(100, 111), shuffle=False)
    shares = [share(order, rank, world) for rank in range(world)]
    assert sorted(sum(shares, [])) == list(range(100, 111))
    for rank, part in enumerate(shares):
        order.rank, order.num_replicas = rank, world
        assert len(order) == len(part)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_training_shares_are_equal_and_disjoint(world):
    order = Order(torch.arange(11), shuffle=True)
    left_out = set()
    for epoch in range(100):
        shares = [share(order, rank, world, epoch) for rank in range(world)]
        assert {len(part) for part in shares} == {11 // world} == {len(order)}
        seen = sum(shares, [])
        assert len(set(seen)) == len(seen)
        left_out |= set(range(11)) - set(seen)
    assert len(left_out) == (0 if world == 1 else 11)  # another tail each epoch, so none is lost for good


def test_the_whole_order_does_not_depend_on_the_number_of_processes():
    order = Order(torch.arange(12), shuffle=True)
    alone = share(order, 0, 1)
    assert [i for pair in zip(share(order, 0, 2), share(order, 1, 2), strict=True) for i in pair] == alone


def test_epochs_and_seeds_differ_and_repeat():
    def order(seed, epoch):
        return share(Order(torch.arange(50), shuffle=True, seed=seed), 0, 1, epoch)

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) != order(1, 1) != order(0, 0)


def test_start_leaves_out_once():
    order = Order(torch.arange(9), shuffle=True)
    whole = share(order, 0, 1)
    assert share(order, 0, 1, start=4) == whole[4:]
    assert len(order) == 9
    assert [index for _, index in order] == whole


def test_the_key_of_the_epoch_goes_along():
    order = Order(torch.arange(3), shuffle=True, seed=5)
    order.set_epoch(2)
    assert {key for key, _ in order} == {epoch_key(5, 2)}
