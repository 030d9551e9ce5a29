"""One picture in many disguises: right pixels, or an error that names the file; never a wrong picture in silence."""

import struct
import threading
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.frame.decode import (
    MAX_PIXELS,
    Unreadable,
    decode,
    decode_all,
    image_size,
    in_threads,
    square,
    usable_cores,
)

Y, X = np.mgrid[:48, :64]
PHOTO = np.stack([4 * X, 5 * Y, 128 + 60 * np.sin(X / 5) * np.cos(Y / 4)], -1)
PHOTO = (PHOTO + np.random.default_rng(1).normal(0, 8, PHOTO.shape)).clip(0, 255).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
GREY = NOISE[..., 0]


def encoded(image, kind, **options):
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def pixels(data, **options):
    return decode(data, "x", **options).permute(1, 2, 0).numpy()


def by_pillow(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def readable_by_pillow(data):
    try:
        return by_pillow(data) is not None
    except OSError:
        return False


JPEG = encoded(PHOTO, "JPEG", quality=90)


def test_a_tensor_of_bytes_in_channels_last_order():
    image = decode(JPEG, "x")
    assert image.dtype == torch.uint8 and image.shape == (3, 48, 64) and image.stride() == (1, 64 * 3, 3)
    image += 1  # its own memory: writing is allowed, a warning would be an error
    assert not np.array_equal(image.permute(1, 2, 0).numpy(), pixels(JPEG))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{"quality": 30}, {"quality": 95}, {"progressive": True}, {"optimize": True}])
def test_jpeg_as_pillow_decodes_it(options, subsampling):
    data = encoded(PHOTO, "JPEG", subsampling=subsampling, **options)
    assert np.array_equal(pixels(data), by_pillow(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_of_other_colours(mode):
    data = encoded(Image.fromarray(PHOTO).convert(mode), "JPEG", quality=95)
    assert np.array_equal(pixels(data), by_pillow(data))
    if mode == "CMYK":
        assert np.abs(pixels(data).astype(int) - PHOTO).max() < 30


def test_jpeg_of_a_rare_subsampling_is_pillows():
    """Three to one in width, which libjpeg-turbo's simple interface does not know; nothing is wrong with it."""
    data = bytearray(encoded(PHOTO[:, :48], "JPEG", subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x31  # the horizontal and vertical factor of Y
    assert np.array_equal(pixels(bytes(data)), by_pillow(bytes(data)))


ALPHA = Image.fromarray(np.dstack([NOISE, GREY]))
PALETTE = Image.fromarray(GREY // 16 * 16).convert("P")


@pytest.mark.parametrize(
    ("image", "kind", "options", "expected"),
    [
        (NOISE, "PNG", {}, NOISE),
        (NOISE, "BMP", {}, NOISE),
        (NOISE, "TIFF", {}, NOISE),
        (NOISE, "WebP", {"lossless": True}, NOISE),
        (ALPHA, "PNG", {}, NOISE),  # transparency is dropped, not blended
        (GREY, "PNG", {}, GREY),
        (Image.fromarray(GREY).convert("LA"), "PNG", {}, GREY),
        (Image.fromarray(GREY > 127), "PNG", {}, np.where(GREY > 127, 255, 0)),
        (GREY.astype(np.uint16) * 256 + 77, "PNG", {}, GREY),
        (GREY.astype(np.uint16) * 256 + 77, "TIFF", {}, GREY),
        (PALETTE, "PNG", {}, GREY // 16 * 16),
        (PALETTE, "PNG", {"transparency": bytes(range(256))}, GREY // 16 * 16),
        (PALETTE, "GIF", {}, GREY // 16 * 16),
        (PALETTE, "GIF", {"transparency": 0}, GREY // 16 * 16),
    ],
    ids=["png", "bmp", "tiff", "webp", "rgba", "grey", "la", "bits", "16bit", "16bit tiff", "p", "pa", "gif", "gif+a"],
)
def test_formats(image, kind, options, expected):
    expected = expected if expected.ndim == 3 else expected[..., None].repeat(3, axis=2)
    assert np.array_equal(pixels(encoded(image, kind, **options)), expected)


def test_sixteen_bits_a_colour():
    """Pillow cannot write such a PNG: made by hand."""

    def part(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    lines = (NOISE.astype(np.uint16) * 256 + 77).astype(">u2").reshape(16, -1)
    content = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", content) + part(b"IEND", b"")
    assert np.array_equal(pixels(data), NOISE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_orientation_is_ignored(kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    turned, plain = encoded(PHOTO, kind, exif=exif), encoded(PHOTO, kind)
    assert turned != plain and np.array_equal(pixels(turned), pixels(plain))


def test_of_an_animation_the_first_picture():
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert np.array_equal(pixels(data)[..., 0], GREY)


WHOLE = {
    "jpg": JPEG,
    "progressive": encoded(PHOTO, "JPEG", progressive=True),
    "cmyk": encoded(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"),
    "png": encoded(NOISE, "PNG"),
    "gif": encoded(PALETTE, "GIF"),
    "webp": encoded(NOISE, "WebP", lossless=True),
    "bmp": encoded(NOISE, "BMP"),
    "tiff": encoded(NOISE, "TIFF"),
}
BROKEN = {f"half of a {kind}": data[: len(data) // 2] for kind, data in WHOLE.items()}
BROKEN |= {"empty": b"", "text": b"hello", "zeros": bytes(500), "start of a jpeg": b"\xff\xd8", "ff": b"\xff\xd8" * 99}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_whole_image_is_an_error_that_names_it(kind, strict):
    with pytest.raises(Unreadable, match=r"^a/b\.jpg cannot be read \(.+\): repair or delete it$"):
        decode(BROKEN[kind], "a/b.jpg", strict)


MIDDLE = len(JPEG) * 3 // 4  # far behind the header and its tables
DAMAGED = {
    "bytes overwritten": JPEG[:MIDDLE] + 50 * b"\xff\0" + JPEG[MIDDLE + 100 :],
    "bytes missing": JPEG[:MIDDLE] + JPEG[MIDDLE + 100 :],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_jpeg_is_told_of(kind):
    with pytest.warns(UserWarning, match=r"b\.jpg is damaged \(.+\): its picture may be wrong; repair or delete it"):
        assert decode(DAMAGED[kind], "b.jpg").shape == (3, 48, 64)
    with pytest.raises(Unreadable, match=r"b\.jpg cannot be read \((Corrupt|Premature)"):
        decode(DAMAGED[kind], "b.jpg", strict=True)


def test_a_missing_end_marker_is_not_passed_over():
    """Pillow reads some of these files and not others."""
    with (
        pytest.warns(UserWarning, match="x is damaged") if readable_by_pillow(JPEG[:-2]) else pytest.raises(Unreadable)
    ):
        decode(JPEG[:-2], "x")
    with pytest.raises(Unreadable):
        decode(JPEG[:-2], "x", strict=True)


@pytest.mark.parametrize("data", [JPEG + b"rubbish", JPEG[:-2] + b"rubbish" + JPEG[-2:]], ids=["behind", "before"])
@pytest.mark.parametrize("strict", [False, True])
def test_rubbish_at_the_end_does_no_harm(data, strict):
    assert np.array_equal(pixels(data, strict=strict), pixels(JPEG))


def huge(kind):
    """A small file whose header tells of 60,000 x 60,000 pixels."""
    data = bytearray(WHOLE[kind])
    if kind == "png":
        data[16:24] = struct.pack(">II", 60_000, 60_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["jpg", "png", "cmyk"])
def test_a_header_that_asks_for_all_memory(kind):
    with pytest.raises(Unreadable, match=r"x\.jpg cannot be read \(.*(60000 x 60000|3600000000) pixels"):
        decode(huge(kind), "x.jpg")


def test_the_largest_picture():
    from datamodules.frame.decode import _check_pixels

    _check_pixels(1, MAX_PIXELS)
    with pytest.raises(ValueError, match="more than 89,478,485 in all: shrink it"):
        _check_pixels(1, MAX_PIXELS + 1)


def test_size_from_the_header(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(JPEG[: len(JPEG) * 3 // 4])
    assert image_size(path) == (48, 64)
    path.write_bytes(b"hello")
    with pytest.raises(Unreadable, match=r"x\.jpg cannot be read .* repair or delete it"):
        image_size(path)


def test_the_middle_square():
    picture = torch.from_numpy(PHOTO).permute(2, 0, 1)
    assert np.array_equal(square(picture, 48, resized=True), PHOTO[:, 8:56])
    assert np.array_equal(square(picture.mT, 48, resized=True), PHOTO[:, 8:56].transpose(1, 0, 2))
    half = np.asarray(Image.fromarray(PHOTO[:, 8:56]).resize((24, 24), Image.Resampling.BILINEAR))
    assert np.array_equal(square(picture, 24, resized=True), half)
    with pytest.raises(ValueError, match="48 x 64 pixels instead of 48 x 48: give image_size= to resize"):
        square(picture, 48, resized=False)


def test_resize_is_antialiased():
    checkers = np.indices((16, 16)).sum(0) % 2 * np.uint8(255)
    grey = square(torch.from_numpy(checkers.astype(np.uint8)).expand(3, -1, -1), 4, resized=True)
    assert np.abs(grey.astype(int) - 127).max() <= 8  # neither 0 nor 255


def test_all_in_threads():
    def work(i):
        done.append(i)
        threads.add(threading.get_ident())
        if i % 100 == 7:
            raise KeyError(i)

    done, threads = [], set()
    problems = in_threads(work, 1000, "working")
    assert sorted(done) == list(range(1000)) and threading.get_ident() not in threads
    assert list(problems) == list(range(7, 1000, 100)) and isinstance(problems[107], KeyError)
    assert in_threads(work, 0, "working") == {}
    assert usable_cores() >= 1


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        Image.new("RGB", (4, 4), (i, i, i)).save(path)
    return paths


def test_many_files(files):
    images = np.empty((6, 4, 4, 3), np.uint8)
    assert decode_all(files, images, resized=False).tolist() == [0, 1, 2, 3, 4, 5]
    assert (images == np.arange(6)[:, None, None, None]).all()


def test_many_files_without_the_unreadable_ones(files):
    images = np.empty((6, 4, 4, 3), np.uint8)
    files[1].write_bytes(b"hello")
    files[4].unlink()
    with pytest.raises(ValueError, match=r"2 of 6 images cannot be used: .*1\.png .*4\.png .*repair or delete them$"):
        decode_all(files, images, resized=False)
    with pytest.raises(ValueError, match="or leave out what cannot be read with skip_unreadable=True$"):
        decode_all(files, images, resized=False, skip_unreadable=False)
    with pytest.warns(UserWarning, match=r"2 of 6 images cannot be read and are left out: .*1\.png .*4\.png"):
        assert decode_all(files, images, resized=False, skip_unreadable=True).tolist() == [0, 2, 3, 5]
    Image.new("RGB", (5, 5)).save(files[0])
    with pytest.raises(ValueError, match=r"3 of 6 images cannot be used: .*0\.png \(5 x 5 pixels instead of 4 x 4"):
        decode_all(files, images, resized=False, skip_unreadable=True)


def test_nothing_readable_is_an_error(files):
    for path in files:
        path.write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"none of 6 images can be read: .*0\.png .*: check the folder"):
        decode_all(files, np.empty((6, 4, 4, 3), np.uint8), resized=False, skip_unreadable=True)


def test_damaged_counts_as_unreadable_where_those_are_left_out(files):
    files[3].write_bytes(DAMAGED["bytes overwritten"])
    images = np.empty((6, 4, 4, 3), np.uint8)
    with pytest.warns(UserWarning, match=r"1 of 6 images cannot be read .*3\.png \(Corrupt JPEG data"):
        assert decode_all(files, images, resized=True, skip_unreadable=True).tolist() == [0, 1, 2, 4, 5]
    with pytest.warns(UserWarning, match=r"3\.png is damaged"):
        assert len(decode_all(files, images, resized=True)) == 6


# ---- more than 8 bits, and formats

RAMP = np.linspace(0, 1, 1600).reshape(40, 40)


def test_floats_from_0_to_1():
    picture = decode(encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), "x")
    assert (picture[0].numpy() == np.rint(RAMP.astype(np.float32).astype(float) * 255)).all()
    assert torch.equal(picture[0], picture[2])


@pytest.mark.parametrize("values", [RAMP * 255, RAMP - 0.1, np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_other_floats_are_refused(values):
    with pytest.raises(Unreadable, match="x cannot be read .its grey values go from .* not from 0 to 1: give white="):
        decode(encoded(Image.fromarray(values.astype(np.float32)), "TIFF"), "x")


def test_white_is_said():
    whole = np.rint(RAMP * 200)
    for array in (whole.astype(np.float32), whole.astype(np.int32), whole.astype(np.uint16)):
        data = encoded(Image.fromarray(array), "TIFF")
        assert (decode(data, "x", white=200)[1].numpy() == np.rint(whole * 255 / 200)).all()
    with pytest.raises(Unreadable, match="go from 0 to 200, not from 0 to 199"):
        decode(data, "x", white=199)


def test_integers_of_32_bits_need_white():
    with pytest.raises(Unreadable, match="does not tell which one is white: give white="):
        decode(encoded(Image.fromarray((RAMP * 255).astype(np.int32)), "TIFF"), "x")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey(kind):
    grey = np.rint(RAMP * 65535).astype(np.uint16)
    assert (decode(encoded(Image.fromarray(grey), kind), "x")[0].numpy() == grey >> 8).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_twelve_bits_in_sixteen_would_be_black(kind):
    data = encoded(Image.fromarray(np.rint(RAMP * 4095).astype(np.uint16)), kind)
    with pytest.raises(Unreadable, match="its brightest grey value is 4,095 of 65,535, nearly black"):
        decode(data, "x")
    assert len(decode(data, "x", white=4095)[0].unique()) == 256 and decode(data, "x", white=65535).max() == 16
    black = encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), kind)
    assert decode(black, "x").max() == 0  # black is black in any number of bits


def test_twelve_bits_a_colour_would_be_black():
    raw = np.random.default_rng(0).integers(0, 4096, (5, 7, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in raw)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with pytest.raises(Unreadable, match="its 16-bit colours are nearly black, at most 15 of 255: rescale it"):
        decode(data, "x")


def test_formats_that_start_programs_are_not_opened(monkeypatch, tmp_path):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("gs was started"))
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(Unreadable, match="x.jpg cannot be read"):
        decode(data, "x.jpg")
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(Unreadable, match="x.jpg cannot be read"):
        image_size(tmp_path / "x.jpg")


def test_programs_of_reports_find_the_decoder():
    from datamodules import _decode
    from datamodules.frame import decode as here

    assert (_decode.decode, _decode.Unreadable) == (here.decode, here.Unreadable)
