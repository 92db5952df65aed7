"""Folders of one's own images as people really have them: what is taken, what is left out aloud, what is refused."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cissl.datasets import load, prepare, store
from cissl.datasets.__main__ import main
from cissl.datasets.sources.image_files import Reading, decode_image
from cissl.errors import UserError
from tests.datasets.synthetic_archives import Folder, random_images, save_png


@pytest.fixture
def source(tmp_path):
    """3 classes (ant, bee, cat) of 4 training and 2 test images, colour, 8×8."""
    return Folder().write(tmp_path / "mine")


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def imported(source, data_dir, name="mine", **reading) -> store.Images:
    prepare.import_images(name, source, data_dir, reading=Reading(**reading) if reading else None)
    return store.open_images(name, data_dir)


def refusal(source, data_dir, **reading) -> str:
    """The message, after which nothing is left behind."""
    with pytest.raises(UserError) as caught:
        imported(source, data_dir, **reading)
    assert {path.name for path in data_dir.iterdir()} <= {".mine.lock"}
    return str(caught.value)


def counts(images) -> list[int]:
    return np.bincount(images.train_labels[images.train_labels >= 0]).tolist()


def png(path, seed=0, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(random_images(1, side, seed=100 + seed)[0], path)


# What is taken


def test_images_in_folders_within_a_class_are_taken(source, data_dir):
    for i in range(3):
        png(source / "train" / "cat" / "tabby" / "old" / f"{i}.png", i)
        png(source / "unlabeled" / "camera 1" / f"{i}.png", 10 + i)
    images = imported(source, data_dir)
    assert counts(images) == [4, 4, 7] and np.count_nonzero(images.train_labels < 0) == 3 and images.remarks == ()


@pytest.mark.parametrize(
    "suffix, format",
    [(".jfif", "JPEG"), (".JPE", "JPEG"), (".PNG", "PNG"), (".avif", "AVIF"), (".jp2", "JPEG2000"), ("", "PNG")]
    + [(".TIF", "TIFF"), (".1", "JPEG"), (".img", "WEBP"), (".tga", "TGA")],
)
def test_images_of_rare_suffixes_and_of_none_are_taken(suffix, format, source, data_dir):
    image = Image.fromarray(random_images(1, 8)[0])
    image.save(source / "train" / "cat" / f"x{suffix}", format=format)
    assert counts(imported(source, data_dir)) == [4, 4, 5]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_camera_says(orientation, source, data_dir):
    shown = np.zeros((8, 8, 3), np.uint8)
    shown[:4], shown[:, :4, 1] = (250, 0, 0), 200
    stored_from_shown = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a[::-1], -1)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(stored_from_shown[orientation](shown)))
    stored.save(source / "train" / "ant" / "0000.png", exif=exif)
    np.testing.assert_array_equal(imported(source, data_dir).train_images[0], shown)


def square_on_transparent_ground(mode, hidden, seen):
    """A visible square; the colour under the transparent ground is one that no viewer shows."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[...] = (hidden, hidden, hidden, 0)
    pixels[2:6, 2:6] = (seen, seen, seen, 255)
    image = Image.fromarray(pixels)
    if mode == "LA":
        return Image.merge("LA", (image.getchannel(0), image.getchannel(3))), {}
    if mode == "P":
        palette = Image.fromarray((pixels[..., 3] // 255).astype(np.uint8), "L").convert("P")
        palette.putpalette([hidden] * 3 + [seen] * 3)
        return palette, {"transparency": 0}
    if mode in ("L", "RGB"):  # one value is transparent
        return image.convert(mode), {"transparency": hidden if mode == "L" else (hidden,) * 3}
    return image, {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
@pytest.mark.parametrize("seen", [0, 255])
def test_colour_under_transparent_parts_has_no_influence(mode, seen, source, data_dir):
    for i, hidden in enumerate((10, 128, 245)):
        image, options = square_on_transparent_ground(mode, hidden, seen)
        image.save(source / "train" / "ant" / f"000{i}.png", **options)
    images = imported(source, data_dir)
    for i in range(3):
        np.testing.assert_array_equal(images.train_images[i], images.train_images[0])
    ground, square = images.train_images[0][0, 0], images.train_images[0][4, 4]
    assert square.tolist() == [seen] * 3 and ground.tolist() == [128] * 3
    assert images.remarks == ("3 of 18 images have transparent parts, which were put on the background colour",)
    on_red = imported(source, data_dir, "red", background="#f00").train_images[0]
    assert on_red[0, 0].tolist() == [255, 0, 0] and on_red[4, 4].tolist() == [seen] * 3


def test_gray_images_with_transparency_stay_gray(tmp_path, data_dir):
    source = Folder(channels=1).write(tmp_path / "mine")
    square_on_transparent_ground("LA", 255, 0)[0].save(source / "train" / "ant" / "0000.png")
    images = imported(source, data_dir)
    assert images.train_images.shape[3] == 1 and images.train_images[0, :, :, 0].min() == 0


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "P", "1"])
def test_other_colour_models_become_red_green_blue(mode, source, data_dir):
    image = Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert(mode)
    image.save(source / "train" / "ant" / "0000.png", format="PNG" if mode in ("P", "1") else "JPEG")
    assert (imported(source, data_dir).train_images[0] >= 254).all()


def test_classes_that_differ_in_capitals_alone_are_told(source, data_dir, capsys):
    for part in ("train", "test"):
        shutil.copytree(source / part / "ant", source / part / "Ant")
    assert main(["import", "mine", str(source), "--data-dir", str(data_dir)]) == 0
    assert (
        "\nthe classes 'Ant' and 'ant' differ in capitals alone; if they are one, join them\n"
        in capsys.readouterr().out
    )


def test_of_an_animated_image_the_first_frame_is_taken_aloud(source, data_dir):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("#ff0000", "#0000ff")]
    frames[0].save(source / "train" / "ant" / "0000.gif", save_all=True, append_images=frames[1:])
    (source / "train" / "ant" / "0000.png").unlink()
    images = imported(source, data_dir)
    assert images.train_images[0, 0, 0].tolist() == [255, 0, 0]
    assert images.remarks == ("1 of 18 images have several frames, of which the first was taken",)


def deep(bits, kind):
    """A ramp over the whole range of 8 bits, in more bits; as an image."""
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 4
    full = 2**bits - 1
    return Image.fromarray(np.round(ramp * (full / 255)).astype(kind)), ramp.astype(np.uint8)


@pytest.mark.parametrize(
    "bits, kind, suffix",
    [(16, np.uint16, "png"), (12, np.uint16, "png"), (16, np.int32, "tif"), (12, np.float32, "tif")],
)
def test_gray_images_of_more_than_8_bits_need_the_value_of_white(bits, kind, suffix, tmp_path, data_dir):
    source = Folder(channels=1).write(tmp_path / "mine")
    image, ramp = deep(bits, kind)
    (source / "train" / "ant" / "0000.png").unlink()
    image.save(source / "train" / "ant" / f"0000.{suffix}")
    assert "has more than 8 bits per channel" in refusal(source, data_dir)
    np.testing.assert_array_equal(imported(source, data_dir, white=2**bits - 1).train_images[0, ..., 0], ramp)
    prepare.shutil.rmtree(data_dir)
    assert "not from 0 to --white 255" in refusal(source, data_dir, white=255)


def test_colour_images_of_16_bits_are_taken_aloud(source, data_dir):
    ramp = np.arange(192, dtype=np.uint16).reshape(8, 8, 3)
    write_png_of_16_bits(source / "train" / "ant" / "0000.png", ramp * 257)
    images = imported(source, data_dir)
    np.testing.assert_array_equal(images.train_images[0], ramp)
    assert images.remarks == ("1 of 18 images have 16 bits per channel, of which the upper 8 were taken",)


def write_png_of_16_bits(path, pixels):
    """Pillow writes none of colour."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def test_validation_images_are_the_test_set_where_there_is_none(source, data_dir):
    (source / "test").rename(source / "val")
    images = imported(source, data_dir)
    assert len(images.test_labels) == 6 and images.remarks == ("there is no test/: val/ is the test set",)


def test_validation_images_beside_a_test_set_are_left_out_aloud(source, data_dir):
    shutil.copytree(source / "test", source / "val")
    (remark,) = imported(source, data_dir).remarks
    assert "left out of the top folder: val (6 files; validation images are taken from the training images)" == remark


def test_capitals_of_the_parts_do_not_matter(source, data_dir):
    (source / "train").rename(source / "Train")
    (source / "test").rename(source / "TEST")
    assert counts(imported(source, data_dir)) == [4, 4, 4]
    shutil.copytree(source / "Train", source / "train")
    shutil.rmtree(data_dir)
    assert "the same name but for capitals" in refusal(source, data_dir)


def test_wrapping_folders_are_passed_through(source, data_dir, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    source.rename(tmp_path / "a" / "b" / "pets")
    (tmp_path / "a" / "readme.txt").write_text("pets")
    images = imported(tmp_path / "a", data_dir)
    assert counts(images) == [4, 4, 4]
    assert images.remarks == ("left out of the top folder: readme.txt (beside the folder of images)",)


def test_composed_and_decomposed_names_are_one_class(source, data_dir):
    """macOS hands out é as e and an accent."""
    composed, decomposed = (unicodedata.normalize(form, "café 'au\" lait") for form in ("NFC", "NFD"))
    assert composed != decomposed
    (source / "train" / "cat").rename(source / "train" / composed)
    (source / "test" / "cat").rename(source / "test" / decomposed)
    assert imported(source, data_dir).class_names == ["ant", "bee", composed]
    assert load("mine.1@6-1", data_dir).labeled_counts == [2, 2, 2]
    shutil.copytree(source / "train" / composed, source / "train" / decomposed)
    shutil.rmtree(data_dir)
    assert "have the same name to a reader" in refusal(source, data_dir)


def test_images_of_several_sizes_are_told_or_resized(source, data_dir):
    png(source / "train" / "bee" / "9999.png", side=12)
    png(source / "train" / "bee" / "9998.png", side=12)
    message = refusal(source, data_dir)
    assert "18 have 8×8" in message and "2 have 12×12 (" in message and "9998.png); add --side PIXELS" in message
    assert imported(source, data_dir, side=10).train_images.shape == (14, 10, 10, 3)


def test_images_that_are_no_squares_are_stretched_aloud(source, data_dir):
    Image.new("RGB", (16, 8)).save(source / "train" / "bee" / "9999.png")
    assert imported(source, data_dir, side=8).remarks == (
        "1 of 19 images are no squares: they were stretched to squares",
    )


# What is left out, aloud


def test_images_that_are_no_squares_are_cropped_or_padded_by_choice(source, data_dir, tmp_path):
    bands = np.uint8([50, 100, 200, 250]).repeat(8)[None].repeat(16, 0)  # four bands, 32 × 16 pixels
    path = tmp_path / "bands.png"
    Image.fromarray(bands).save(path)
    cropped, padded = (
        decode_image(path, 8, 1, Reading(fit=fit, background="black"))[:, :, 0] for fit in ("crop", "pad")
    )
    assert cropped[4, [1, 6]].tolist() == pytest.approx([100, 200], abs=8)  # of the middle; the resampling overshoots
    assert padded[:, 0].tolist() == pytest.approx([0, 0, 50, 50, 50, 50, 0, 0], abs=5)
    shutil.copy(path, source / "train" / "bee" / "9999.png")
    images = imported(source, data_dir, side=8, fit="pad")
    assert images.remarks == ("1 of 19 images are no squares: they were padded with the background to squares",)
    assert images.reading == {"background": "gray", "white": None, "fit": "pad"}
    with pytest.raises(UserError, match="unknown fit 'cut'; .*crop"):
        Reading(fit="cut")


# What is left out, aloud


def test_everything_that_is_left_out_is_told_with_its_place_and_reason(source, data_dir):
    png(source / "train" / "cat" / ".hidden.png")
    (source / "train" / "cat" / "._0001.png").write_bytes(b"\0\5\x16\7")
    (source / "train" / "cat" / "notes.txt").write_text("no image")
    for i in range(12):
        (source / "train" / "cat" / f"{i:02}.xml").write_text("<x/>")
    (source / "train" / "Thumbs.db").write_bytes(b"x")
    (source / "train" / ".DS_Store").write_bytes(b"x")
    png(source / "train" / "stray.png")
    png(source / "extra" / "a.png")
    (source / "__MACOSX" / "train").mkdir(parents=True)
    (source / "test" / "empty").mkdir()
    os.mkfifo(source / "test" / "cat" / "pipe.png")
    images = imported(source, data_dir)
    assert counts(images) == [4, 4, 4]
    assert set(images.remarks) == {
        "left out of train/cat/: ._0001.png, .hidden.png (hidden)",
        "left out of train/cat/: 00.xml, 01.xml, 02.xml, 03.xml, 04.xml, 05.xml, 06.xml, 07.xml, 08.xml, 09.xml and 3 "
        "more (no image)",
        "left out of train/: Thumbs.db (of the operating system)",
        "left out of train/: .DS_Store (hidden)",
        "left out of train/: stray.png (not in a class folder)",
        "left out of the top folder: extra (1 files; wanted are train/<class>/ and test/<class>/ with images, and "
        "optionally unlabeled/)",
        "left out of the top folder: __MACOSX (of the operating system)",
        "left out of test/: empty (no images)",
        "left out of test/cat/: pipe.png (no file)",
    }


def test_links_are_followed_once_and_never_round(source, data_dir):
    (source / "elsewhere").mkdir()
    png(source / "elsewhere" / "a.png")
    cat = source / "train" / "cat"
    (cat / "more").symlink_to(source / "elsewhere")
    (cat / "once more").symlink_to(source / "elsewhere")
    (cat / "round").symlink_to(source)
    (cat / "itself").symlink_to(cat)
    (cat / "nowhere").symlink_to(cat / "nowhere")
    (cat / "linked.png").symlink_to(source / "train" / "bee" / "0004.png")
    images = imported(source, data_dir)
    assert counts(images) == [4, 4, 6]
    seen = [remark for remark in images.remarks if "a link to a folder that is around it or was read before" in remark]
    assert seen == [
        "left out of train/cat/: itself, once more, round (a link to a folder that is around it or was read before)"
    ]
    assert any("nowhere (no file)" in remark for remark in images.remarks)


def test_import_prints_counts_and_what_was_left_out_and_what_repeats(source, data_dir, capsys):
    shutil.copy(source / "train" / "cat" / "0008.png", source / "test" / "cat" / "again.png")
    shutil.copy(source / "train" / "cat" / "0009.png", source / "train" / "ant" / "again.png")
    png(source / "unlabeled" / "0.png")
    (source / "train" / "cat" / "notes.txt").write_text("no image")
    assert main(["import", "mine", str(source), "--data-dir", str(data_dir)]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert (rows["ant"], rows["bee"], rows["cat"]) == (["5", "2"], ["4", "2"], ["4", "3"])
    assert (rows["(unlabeled)"], rows["total"]) == (["1", "0"], ["14", "7"])
    assert "left out of train/cat/: notes.txt (no image)" in printed
    assert "1 of 7 test images are training or unlabeled images too" in printed
    assert "1 training images are in several classes" in printed
    example = printed.splitlines()[-1].partition("inspect ")[2]
    assert main(["inspect", example, "--data-dir", str(data_dir)]) == 0


# What is refused


def unreadable(folder: Path) -> list[str]:
    """Files that are no images, each in another way; their names."""
    whole = (folder / "train" / "ant" / "0000.png").read_bytes()
    Image.fromarray(random_images(1, 64)[0]).save(folder / "jpeg.jpg")
    files = {
        "train/ant/truncated.png": whole[: len(whole) * 2 // 3],
        "train/bee/truncated.jpg": (folder / "jpeg.jpg").read_bytes()[:-900],
        "train/bee/empty.png": b"",
        "train/cat/text.jpeg": b"no image",
        "train/cat/changed.png": whole[:60] + bytes(20) + whole[80:],
        "test/cat/truncated.jpg": (folder / "jpeg.jpg").read_bytes()[:-900],
        "unlabeled/text.png": b"no image",
        "test/ant/photo.heic": b"\0\0\0\x18ftypheic",
    }
    (folder / "unlabeled").mkdir()
    (folder / "jpeg.jpg").unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "train" / "ant" / "gone.png").symlink_to(folder / "nowhere.png")
    return [*files, "train/ant/gone.png"]


@pytest.mark.parametrize("side", [None, 8])
def test_one_run_names_all_unreadable_images(side, source, data_dir):
    names = unreadable(source)
    message = refusal(source, data_dir, **({"side": side} if side else {}))
    assert message.startswith(f"{len(names)} images cannot be taken; mend, convert or remove what cannot be read:\n")
    assert all(f"  {source / name} is not a readable image (" in message for name in names)


def test_one_run_names_all_images_that_only_decoding_finds_unreadable(source, data_dir):
    Image.fromarray(random_images(1, 64)[0]).save(source / "jpeg.jpg")
    broken = (source / "jpeg.jpg").read_bytes()[:-900]
    (source / "jpeg.jpg").unlink()
    for name in ("train/ant/a.jpg", "train/cat/a.jpg", "test/bee/a.jpg"):
        (source / name).write_bytes(broken)
    message = refusal(source, data_dir, side=8)
    assert message.startswith("3 images cannot be taken") and message.count("truncated") == 3


def without_test_classes(folder):
    shutil.rmtree(folder / "test" / "ant")
    shutil.rmtree(folder / "test" / "bee")


def name_with(text):
    return lambda folder: os.rename(folder / "train" / "cat", os.fsencode(folder / "train") + b"/" + text)


def flat_test(folder):
    shutil.rmtree(folder / "test")
    png(folder / "test" / "0.png")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda folder: shutil.copytree(folder / "test" / "bee", folder / "test" / "dog"),
            "'dog' of .* training classes",
        ),
        (
            without_test_classes,
            "classes 'ant', 'bee' have no test image; add some, or leave the classes out altogether",
        ),
        (flat_test, "classes 'ant', 'bee', 'cat' have no test image"),
        (lambda folder: shutil.rmtree(folder / "test"), "no folder .*test: it holds train/; wanted are train/<class>/"),
        (lambda folder: shutil.rmtree(folder / "train"), "no folder .*train: it holds test/"),
        (lambda folder: (folder / "train").rename(folder / "pictures"), "no folder .*train: it holds pictures/, test/"),
        (lambda folder: [p.unlink() for p in (folder / "train" / "cat").iterdir()], "'cat' has no training image"),
        (
            lambda folder: [shutil.rmtree(p / n) for p in folder.iterdir() for n in ("bee", "cat")],
            "two or more classes",
        ),
        (name_with(b"caf\xe9"), r"'caf\\udce9' in .* cannot be the name of a class"),
        (name_with(b"a\nb"), r"'a\\nb' in .* cannot be the name of a class"),
        (name_with(b"  "), "cannot be the name of a class: it is empty"),
    ],
)
def test_unfit_folders_are_refused_by_name(change, message, source, data_dir):
    change(source)
    refused = refusal(source, data_dir)
    with pytest.raises(UserError, match=message):
        raise UserError(refused)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--background", "grey-ish"], "background 'grey-ish' is no colour"),
        (["--white", "nan"], "white, nan, is not a number above 0"),
        (["--white", "-1"], "white, -1.0, is not"),
        (["--side", "0"], "side, 0, is below 8 pixels"),
        (["--side", "-8"], "side, -8, is below 8 pixels"),
        (["--shift", "8"], "a shift by 8 pixels"),
    ],
)
def test_impossible_options_are_refused(options, message, source, data_dir, capsys):
    assert main(["import", "mine", str(source), "--data-dir", str(data_dir), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--side", "8"), ("--fit", "crop"), ("--background", "red"), ("--white", "255")])
def test_options_of_image_files_are_refused_by_name_beside_an_npz_file(option, tmp_path, data_dir, capsys):
    path = Folder().write_npz(tmp_path / "mine.npz")
    assert main(["import", "mine", str(path), "--data-dir", str(data_dir), *option]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and option[0] in error and not (data_dir / "mine").exists()


def test_a_place_that_is_taken_by_something_else_is_named_before_any_work(source, data_dir):
    (data_dir / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match="data/mine is there and is no prepared data set; move it"):
        imported(source, data_dir)
    assert (data_dir / "mine").is_dir()
