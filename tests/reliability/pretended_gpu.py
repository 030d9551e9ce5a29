"""Tensors that say `cuda:0` under the real Trainer: faults of a GPU, found without one.

A `Pretend` tensor holds its numbers on the processor and says `cuda:0` to Python. Every operation goes through `run`,
which refuses what a GPU would refuse (tensors of two devices, a generator of the other device, `.numpy()`) and writes
down what a GPU would wait for (`.item()`, `nonzero`, copies that block). Numbers are right: a run ends with the weights
of a CPU run. Autocast is that of CUDA's lists. Nothing is known of speed, of kernels that CUDA lacks, of NCCL.

To C++ the device is `pretend:0`, torch's spare backend, which stays registered for the life of the process: import
this file in a process of its own only.
"""

import collections
import contextlib
import os
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import library
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
from torch.utils.data._utils import pin_memory

aten, T = torch.ops.aten, torch.Tensor
CUDA = torch.device("cuda:0")  # what Python sees
ROOT = str(Path(__file__).resolve().parents[2]) + "/"
PARTS, HERE = ("zoo", "callbacks", "datamodules", "recipes"), os.path.abspath(__file__)


class Backend:
    """What torch asks of a spare backend."""

    get_amp_supported_dtype = lambda self: [torch.float16, torch.bfloat16]  # noqa: E731
    is_initialized = is_available = lambda self: True  # noqa: E731
    current_device = lambda self: 0  # noqa: E731
    device_count = lambda self: 1  # noqa: E731
    _is_in_bad_fork = lambda self: False  # noqa: E731
    manual_seed = manual_seed_all = lambda self, seed: None  # noqa: E731
    get_rng_state = lambda self, device=None: torch.get_rng_state()  # noqa: E731
    set_rng_state = lambda self, state, device=None: None  # noqa: E731


if torch._C._get_privateuse1_backend_name() != "pretend":
    _setup_privateuseone_for_python_backend("pretend", backend_module=Backend())
INNER = torch.device("pretend:0")  # what C++ sees

Event = collections.namedtuple("Event", "kind what note where moment")  # kind: SYNC, H2D, D2H


class Recorder:
    """What a GPU would have waited for; copies of pinned memory do not wait."""

    def __init__(self):
        self.events, self.moment, self.on = [], lambda: None, True

    def add(self, kind, what, note="", waits=True):
        if self.on and waits:
            self.events.append(Event(kind, what, str(note), here(), self.moment()))


REC = Recorder()


@contextlib.contextmanager
def unrecorded():
    before, REC.on = REC.on, False
    try:
        yield
    finally:
        REC.on = before


def here():
    """The innermost line of the project, else of Lightning, torchmetrics and so on."""
    frame, other = sys._getframe(2), ""
    while frame:
        name = frame.f_code.co_filename
        if name != HERE and name.startswith(ROOT) and name[len(ROOT) :].split("/")[0] in PARTS:
            return f"{name[len(ROOT) :]}:{frame.f_lineno}"
        if not other and "site-packages/" in name and "/torch/" not in name:
            other = f"{name.split('site-packages/')[1]}:{frame.f_lineno}"
        frame = frame.f_back
    return other


class Mixed(RuntimeError):
    """Tensors of two devices in one operation."""


class Pretend(torch.Tensor):
    """A CPU tensor that says cuda:0."""

    @staticmethod
    def __new__(cls, inside):
        return T._make_subclass(cls, inside, False, dispatch_device=True, device_for_backend_keys=INNER)

    def __repr__(self, **_):
        return f"Pretend({tuple(self.shape)}, {self.dtype})"

    def __reduce_ex__(self, protocol):
        with torch._C.DisableTorchFunctionSubclass():
            return plain(self).__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        new = self.detach().clone()
        parameter = isinstance(self, torch.nn.Parameter)
        memo[id(self)] = new = (
            torch.nn.Parameter(new, self.requires_grad) if parameter else new.requires_grad_(self.requires_grad)
        )
        return new

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            own = SPECIAL.get(func)
            return func(*args, **kwargs or {}) if own is None else own(func, *args, **kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return INNER if func is torch.ops.prim.device.default else run(func, args, kwargs or {})


def is_cuda(x):
    return isinstance(x, Pretend)


def plain(x):
    """The CPU tensor inside, in the same memory."""
    with torch._C._DisableTorchDispatch(), torch.no_grad():
        out = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage(), x.storage_offset(), x.size(), x.stride())
        return torch._conj(out) if x.is_conj() else out


def wrap(x):
    return x if is_cuda(x) else Pretend(x)


def device_of(t):
    return CUDA if is_cuda(t) else t.device


def on_ours(device):
    return device is not None and torch.device(device).type in ("cuda", "pretend")


# ---- what Python asks of a tensor


def _to(func, x, *args, **kwargs):
    device, dtype, rest = kwargs.get("device"), kwargs.get("dtype"), list(args)
    if rest and isinstance(rest[0], T):
        other = rest.pop(0)
        device, dtype = device_of(other), other.dtype
    elif rest and isinstance(rest[0], (str, torch.device)) or rest and type(rest[0]) is int:
        device = rest.pop(0)
        device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    elif rest and rest[0] is None:
        rest.pop(0)
    if rest and isinstance(rest[0], torch.dtype):
        dtype = rest.pop(0)
    blocking, copy = (
        kwargs.get("non_blocking", rest[0] if rest else False),
        kwargs.get("copy", rest[1] if len(rest) > 1 else False),
    )
    layout = kwargs.get("memory_format")
    device, dtype = device_of(x) if device is None else torch.device(device), dtype or x.dtype
    there = on_ours(device) == is_cuda(x) and (device.type != "meta" or x.is_meta)
    fits = layout in (None, torch.preserve_format) or x.is_contiguous(memory_format=layout)
    if there and dtype == x.dtype and not copy and fits:
        return x
    return aten._to_copy(x, dtype=dtype, device=device, non_blocking=bool(blocking), memory_format=layout)


def _numpy(func, x, *args, **kwargs):
    if is_cuda(x):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
    return func(x, *args, **kwargs)


def _tolist(func, x):
    if is_cuda(x):
        REC.add("SYNC", "tolist", str(tuple(x.shape)))
        return plain(x).tolist()
    return func(x)


def _one_hot(func, *args, **kwargs):  # on CUDA its labels are not looked at, if the number of classes is given
    known = kwargs.get("num_classes", args[1] if len(args) > 1 else -1) != -1
    with unrecorded() if known else contextlib.nullcontext():
        return func(*args, **kwargs)


SPECIAL = {
    T.device.__get__: lambda f, x: device_of(x),
    T.is_cuda.__get__: lambda f, x: is_cuda(x),
    T.is_cpu.__get__: lambda f, x: not is_cuda(x) and f(x),
    T.get_device: lambda f, x: 0 if is_cuda(x) else f(x),
    T.to: _to,
    T.type_as: lambda f, x, other: _to(None, x, other),
    T.cpu: lambda f, x, *a, **k: _to(None, x, torch.device("cpu")),
    T.cuda: lambda f, x, device=None, non_blocking=False, **k: _to(None, x, CUDA, non_blocking=non_blocking),
    T.numpy: _numpy,
    T.__array__: _numpy,
    T.tolist: _tolist,
    T.is_pinned: lambda f, x, *a: bool(getattr(x, "_pinned", False)),
    T.__format__: lambda f, x, spec: format(x.item(), spec) if x.ndim == 0 else repr(x),
    T.__deepcopy__: lambda f, x, memo: Pretend.__deepcopy__(x, memo),
    torch.nn.functional.one_hot: _one_hot,
    torch._C._nn.one_hot: _one_hot,
}

# ---- every operation

WAITS = {
    *(
        "aten::_local_scalar_dense",
        "aten::nonzero",
        "aten::masked_select",
        "aten::bincount",
        "aten::equal",
        "aten::histc",
    ),
    *("aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::repeat_interleave"),
    *("aten::_linalg_eigh", "aten::_linalg_svd", "aten::linalg_inv_ex"),
}
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
SCALARS = {  # take a number of the CPU, ()
    *("aten::where", "aten::lerp", "aten::lerp_", "aten::masked_fill", "aten::masked_fill_"),
    *("aten::fill", "aten::fill_", "aten::clamp"),
}
LIKE = (
    *("aten::new_", "aten::empty_like", "aten::zeros_like", "aten::ones_like", "aten::full_like"),
    *("aten::rand_like", "aten::randn_like", "aten::randint_like"),
)
DRAWS = ("aten::rand", "aten::uniform", "aten::normal", "aten::bernoulli", "aten::multinomial")


def _batch_norm(x, w, b, mean, var, training, momentum, eps):
    return (*aten.native_batch_norm(x, w, b, mean, var, training, momentum, eps), torch.empty(0, dtype=torch.uint8))


def _batch_norm_back(x, g, w, mean, var, save_mean, save_var, eps, reserve):
    return aten.native_batch_norm_backward(g, x, w, mean, var, save_mean, save_var, True, eps, [True] * 3)


INSTEAD = {"aten::cudnn_batch_norm": _batch_norm, "aten::cudnn_batch_norm_backward": _batch_norm_back}


def run(func, args, kwargs):
    """One operation: judged, noted, computed on the processor."""
    device = kwargs.get("device")
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, T)]
    ours = on_ours(device)
    if not any(map(is_cuda, tensors)) and not ours:
        return func(*args, **kwargs)
    stays = judge(func, args, kwargs, tensors)  # whether the result is on our device
    kwargs = {**kwargs, "device": torch.device("cpu")} if ours else dict(kwargs)
    if kwargs.get("pin_memory"):
        kwargs["pin_memory"] = False
    inside, named = tree_map_only(Pretend, plain, (args, kwargs))
    with torch._C._DisableTorchDispatch():
        out = INSTEAD.get(func._schema.name, func)(*inside, **named)
    return _returned(func._schema, args, kwargs, out, stays)


def judge(func, args, kwargs, tensors) -> bool:
    """Refuse what a GPU refuses, note what it waits for; say whether the result is on our device."""
    name, device = func._schema.name, kwargs.get("device")
    on, ours = [is_cuda(t) for t in tensors], on_ours(device)
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu" and name.startswith(DRAWS):
        raise Mixed(f"{name}: expected a 'cuda' device type for generator but found 'cpu'")
    if name in WAITS:
        REC.add("SYNC", name, str([tuple(t.shape) for t in tensors]))
    if name == "aten::_to_copy":
        stays = on[0] if device is None else ours
        if stays != on[0] and torch.device(device).type != "meta":
            waits = not (kwargs.get("non_blocking") and getattr(tensors[0], "_pinned", False))
            REC.add("H2D" if stays else "D2H", "to", tuple(tensors[0].shape), waits)
        return stays
    if name == "aten::copy_":
        if is_cuda(args[0]) != is_cuda(args[1]):
            free = kwargs.get("non_blocking", len(args) > 2 and args[2]) and getattr(args[1], "_pinned", False)
            REC.add("H2D" if is_cuda(args[0]) else "D2H", "copy_", tuple(args[1].shape), not free)
    elif name in INDEXED:
        judge_index(name, args)
    elif name.startswith(LIKE):
        return ours if device is not None else on[0]
    elif any(on) and not all(on):
        refuse_mixed(func, tensors, on)
    return True


def judge_index(name, args) -> None:
    """Indices that are copied, refused, or masks, whose count is read."""
    for i in filter(lambda i: i is not None, args[1]):
        if is_cuda(args[0]) and not is_cuda(i):
            REC.add("H2D", "index by a CPU tensor")
        elif is_cuda(i) and not is_cuda(args[0]):
            raise Mixed(f"{name}: indices on cuda:0, the tensor on the CPU")
        if i.dtype in (torch.bool, torch.uint8) and (name == "aten::index" or args[2].numel() > 1):
            REC.add("SYNC", "index by a mask")
    if len(args) > 2 and is_cuda(args[0]) and not is_cuda(args[2]) and args[2].ndim:
        raise Mixed(f"{name}: the value is on the CPU")


def refuse_mixed(func, tensors, on) -> None:
    """Two devices in one operation: allowed for numbers without dimensions only."""
    name = func._schema.name
    takes = torch.Tag.pointwise in func.tags or name in SCALARS or name.startswith(("aten::_foreach", "aten::_fused"))
    if not (takes and all(t.ndim == 0 for t in tensors if not is_cuda(t))):
        shapes = [(tuple(t.shape), "cuda:0" if o else "cpu") for t, o in zip(tensors, on, strict=True)]
        raise Mixed(f"{name}: expected all tensors to be on the same device, got {shapes}")


def _returned(schema, args, kwargs, out, stays):
    writes = lambda a: a.alias_info is not None and a.alias_info.is_write  # noqa: E731
    if not any(map(writes, schema.returns)):
        return tree_map_only(T, wrap, out) if stays else out
    given = {a.name: args[i] if i < len(args) else kwargs.get(a.name) for i, a in enumerate(schema.arguments)}
    results = []
    for r, o in zip(schema.returns, out if isinstance(out, (tuple, list)) else (out,), strict=True):
        same = [
            a
            for a in schema.arguments
            if writes(r) and writes(a) and a.alias_info.before_set == r.alias_info.before_set
        ]
        results.append(given[same[0].name] if same else wrap(o) if isinstance(o, T) else o)
    return tuple(results) if isinstance(out, (tuple, list)) else results[0]


class Mode(TorchDispatchMode):
    """For operations that make tensors on the device out of nothing."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return INNER if func is torch.ops.prim.device.default else run(func, args, kwargs or {})


# ---- autocast by CUDA's lists (aten/src/ATen/autocast_mode.h)

LISTS = {
    "lower": (
        "conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution prelu addmm "
        "addmv addr matmul einsum mm mv linalg_vecdot linear addbmm baddbmm bmm chain_matmul linalg_multi_dot "
        "scaled_dot_product_attention"
    ),
    "float32": (
        "__rpow__ acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus "
        "layer_norm native_layer_norm group_norm frobenius_norm nuclear_norm cosine_similarity poisson_nll_loss "
        "cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss "
        "mse_loss margin_ranking_loss triplet_margin_loss multilabel_margin_loss soft_margin_loss multi_margin_loss "
        "binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp upsample_nearest1d upsample_nearest2d "
        "upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d _upsample_bicubic2d_aa prod softmax "
        "log_softmax cumprod cumsum linalg_vector_norm linalg_matrix_norm sum norm"
    ),
    "widest": ("addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add"),
}
KEY = torch._C.DispatchKey.AutocastPrivateUse1


def _casting(op, kind):
    def eligible(t):
        return is_cuda(t) and t.is_floating_point() and t.dtype != torch.float64

    def kernel(*args, **kwargs):
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(KEY)):
            kinds = {t.dtype for t in tree_flatten((args, kwargs))[0] if isinstance(t, T) and eligible(t)}
            if not kinds or (kind == "float32" and kwargs.get("dtype") is not None):
                return op(*args, **kwargs)
            wide = torch.float32 if kind == "float32" or torch.float32 in kinds else next(iter(kinds))
            want = torch.get_autocast_dtype("pretend") if kind == "lower" else wide
            cast = lambda t: aten._to_copy(t, dtype=want) if eligible(t) and t.dtype != want else t  # noqa: E731
            args, kwargs = tree_map_only(T, cast, (args, kwargs))
            return op(*args, **kwargs)

    return kernel


def _autocast():
    rest = library.Library("_", "IMPL", "AutocastPrivateUse1")
    rest.fallback(library.fallthrough_kernel)
    lists = library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for kind, names in LISTS.items():
        for packet in (getattr(aten, name) for name in names.split() if hasattr(aten, name)):
            for overload in packet.overloads():
                if not any(word in overload.lower() for word in ("out", "dimname", "names")):
                    lists.impl(getattr(packet, overload), _casting(getattr(packet, overload), kind))
    return rest, lists


class Properties:
    """Of the device."""

    name, major, minor, total_memory, multi_processor_count, warp_size = "Pretend", 9, 0, 80 << 30, 132, 32


def nothing(*_, **__) -> None:
    """What most of torch.cuda does here."""


def answers():
    """What torch.cuda says on a machine with one GPU."""
    silent = "_lazy_init _lazy_call set_device empty_cache manual_seed manual_seed_all set_rng_state set_rng_state_all"
    state = lambda *_: torch.get_rng_state()  # noqa: E731
    return {
        **dict.fromkeys((*silent.split(), "reset_peak_memory_stats"), nothing),
        **dict.fromkeys(("is_available", "is_initialized", "is_bf16_supported"), lambda *_, **__: True),
        **dict.fromkeys(("current_device", "memory_allocated", "max_memory_allocated"), lambda *_: 0),
        "device_count": lambda: 1,
        "get_device_name": lambda device=None: "Pretend",
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": lambda device=None: Properties,
        "mem_get_info": lambda device=None: (8 << 30, 16 << 30),
        "get_rng_state": state,
        "get_rng_state_all": lambda: [state()],
        "synchronize": lambda device=None: REC.add("SYNC", "torch.cuda.synchronize"),
    }


def pinned(tensor, *_):
    """A copy in memory from which a GPU reads by itself."""
    copied = tensor.clone(memory_format=torch.preserve_format)
    copied._pinned = True
    return copied


APPLY, AUTOCAST = torch.nn.Module._apply, torch.autocast.__init__


def moved_in_place(self, fn, recurse=True):
    """`Module._apply` in which a parameter that moves stays the same object, as on a GPU."""
    try:
        torch.__future__.set_swap_module_params_on_conversion(True)
        return APPLY(self, fn, recurse)
    except RuntimeError as error:
        if "swap" not in str(error):
            raise
        torch.__future__.set_swap_module_params_on_conversion(False)
        return APPLY(self, fn, recurse)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def patched(patch) -> None:
    """torch, with a GPU in it."""
    for key, value in answers().items():
        patch.setattr(torch.cuda, key, value)
    patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    patch.setattr(T, "pin_memory", pinned)
    patch.setattr(pin_memory, "pin_memory", lambda batch, device=None: tree_map_only(T, pinned, batch))
    patch.setattr(torch.nn.Module, "_apply", moved_in_place)
    name_of = lambda kind: "pretend" if kind == "cuda" else kind  # noqa: E731
    patch.setattr(torch.autocast, "__init__", lambda self, kind, *a, **k: AUTOCAST(self, name_of(kind), *a, **k))
    for key in ("is_autocast_enabled", "get_autocast_dtype", "set_autocast_enabled", "set_autocast_dtype"):
        old = getattr(torch, key)
        patch.setattr(torch, key, lambda *a, old=old: old(*map(name_of, a)))


@contextlib.contextmanager
def pretended_gpu():
    """torch.cuda, autocast and pinned memory as with one GPU; `REC` tells what it would have waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        torch._C._ensureCUDADeviceGuardSet()
        libraries, lifts = _autocast(), torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda"): made on the CPU, then moved
        REC.events.clear()
        try:
            with warnings.catch_warnings(), Mode():
                warnings.simplefilter("ignore")
                yield REC
        finally:
            torch._C._set_only_lift_cpu_tensors(lifts)
            for each in libraries:
                each._destroy()
