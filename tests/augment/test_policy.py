"""The triple a.b.c: its letters, its views, and what views may depend on."""

import numpy as np
import pytest
import torch

from cissl.augment import ctaugment, ops, randaugment, weak
from cissl.augment.autoaugment import sub_policies
from cissl.augment.ctaugment import ProbePolicy
from cissl.augment.policy import Augmentation, ViewBatch
from cissl.augment.triple import parse_triple
from cissl.errors import UserError

TRIPLES = ["d.d.d", "x.m.ra", "m.d.rac", "ra.rac.r2_9_50", "aa.aac.aac", "d.d.x"]


RATES = {"rates": torch.rand(19, 2, 17, generator=torch.Generator().manual_seed(0))}


def make(triple="d.d.d", **changes):
    settings = {"dataset": "cifar10", "mirror": True, "shift": 2, "side": 16, "channels": 3}
    return Augmentation(triple, **settings | changes)


def strong_and_probes(augmentation, images, rng, views, probe_rng):
    """Strong views of some images, and probes of other ones' views."""
    wanted = {"strong": ViewBatch("strong", len(images)), "labeled": ViewBatch("none", len(views))}
    random = {"strong": rng, "probe": probe_rng, "labeled": None}
    draws = augmentation.draw(wanted, random.get, "labeled")
    assert augmentation.order(wanted) == ["labeled", "strong"]
    sent = augmentation._sent(draws)
    made, probes = augmentation.views(wanted, torch.cat((ops.to_uint8(views), images)), sent, "labeled")
    return made["strong"], probes


def probe(augmentation, views, rng):
    """Probes of labeled views and their policies, drawn after strong views of the same images."""
    return strong_and_probes(augmentation, ops.to_uint8(views), rng, views, rng)[1]


def all_views(augmentation, images, rng):
    views = [augmentation.labeled(images, rng), augmentation.weak(images, rng), augmentation.strong(images, rng)]
    if augmentation.uses_ctaugment:
        probes, policy = probe(augmentation, views[0], rng)
        views += [probes, policy.ops, policy.levels]
    return views


@pytest.mark.parametrize("text", ["d.d.d", "x.m.ra", "rac.aa.aac", "d.d.r1_1_0", "r3_15_100.d.x"])
def test_parse_triple(text):
    assert ".".join(parse_triple(text, "cifar10")) == text


@pytest.mark.parametrize(
    "text, said",
    [
        ("d.d", "three letters"),
        ("d.d.d.d", "three letters"),
        ("", "three letters"),
        (None, "three letters"),
        ("d.d.racc", "did you mean 'rac'"),
        ("D.d.d", "did you mean 'd'"),
        ("d.d. d", "' d'"),
        ("d..d", "''"),
        ("d.d.zz", "known: aa, aac, d, m, rN_M_C, ra, rac, x"),
        ("d.d.r0_5_50", "N from 1"),
        ("d.d.r2_16_50", "M from 1 to 15"),
        ("d.d.r2_0_50", "M from 1 to 15"),
        ("d.d.r2_5_101", "C from 0 to 100"),
        ("d.d.r2_5", "rN_M_C"),
        ("d.d.r2_5_50\n", "unknown letter"),
    ],
)
def test_bad_triples(text, said):
    with pytest.raises(UserError, match="augment") as error:
        parse_triple(text, "cifar10")
    assert said in str(error.value) and error.value.key == "augment"
    with pytest.raises(UserError):
        make(text)


def test_autoaugment_needs_a_known_dataset():
    with pytest.raises(UserError, match="no policy for dataset 'digits'") as error:
        make("d.d.aa", dataset="digits")
    assert error.value.key == "augment"


@pytest.mark.parametrize("changes", [{"side": 7}, {"channels": 2}, {"shift": 16}, {"shift": -1}])
def test_impossible_sizes(changes):
    with pytest.raises(ValueError, match="cannot augment"):
        make(**changes)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("triple", TRIPLES)
def test_views_are_floats_of_the_images_shape(triple, channels, rows, images_of):
    images = images_of(40, channels, 16)
    for view in all_views(make(triple, channels=channels), images, rows(0, 40))[:4]:
        assert view.shape == images.shape and view.dtype == torch.float32
        assert view.min() >= -1 and view.max() <= 1
        assert view.unique().numel() > 10


@pytest.mark.parametrize("triple", TRIPLES)
def test_rows_do_not_depend_on_the_number_of_workers(triple, rows, images_of):
    """Each half of a batch, with its rows of the global table of draws, equals the half of the whole."""
    images, augmentation = images_of(40, 3, 16), make(triple)
    whole = all_views(augmentation, images, rows(7, 40))
    parts = [slice(0, 24), slice(24, 40)]
    halves = [all_views(augmentation, images[part], rows(7, 40, part)) for part in parts]
    for view, *split in zip(whole, *halves, strict=True):
        assert torch.equal(view, torch.cat(split))


@pytest.mark.parametrize("triple", TRIPLES)
def test_draws_do_not_depend_on_images_or_rates(triple, rows, images_of):
    first, second, augmentation = rows(1, 20), rows(2, 20), make(triple)
    all_views(augmentation, images_of(20, 3, 16), first)
    if augmentation.uses_ctaugment:
        augmentation.load_state_dict(RATES)
    all_views(augmentation, images_of(20, 3, 16, seed=5), second)
    assert first.calls == second.calls and first.calls


@pytest.mark.parametrize("triple", TRIPLES)
def test_inputs_stay_and_global_randomness_is_not_used(triple, rows, images_of):
    nhwc = images_of(20, 3, 16).movedim(1, -1).contiguous()
    images, kept = nhwc.movedim(-1, 1), nhwc.clone()
    augmentation = make(triple)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    views = all_views(augmentation, images, rows(0, 20))
    assert torch.equal(nhwc, kept)
    assert torch.equal(torch.get_rng_state(), before[0]) and (np.random.get_state()[1] == before[1]).all()
    for view, again in zip(views, all_views(augmentation, images.contiguous(), rows(0, 20)), strict=True):
        assert torch.equal(view, again)


@pytest.mark.parametrize("triple", TRIPLES)
def test_nothing_is_read_back_from_the_device(triple, rows):
    """Tensors on the meta device have no values: a branch on one, or a mix of devices, would raise."""
    augmentation = make(triple, device="meta")
    images = torch.empty(30, 3, 16, 16, dtype=torch.uint8, device="meta")
    views = all_views(augmentation, images, rows(0, 30))
    assert all(view.device.type == "meta" for view in views)
    if augmentation.uses_ctaugment:
        augmentation.update(probe(augmentation, views[0], rows(1, 30))[1], torch.empty(30, device="meta"))


def test_identity_and_mirror(rows, images_of):
    images = images_of(200, 3, 16)
    augmentation = make("x.m.x")
    assert torch.equal(augmentation.labeled(images, rows(0, 200)), images / 127.5 - 1)
    assert torch.equal(augmentation.strong(images, rows(0, 200)), images / 127.5 - 1)
    mirrored = ops.to_uint8(augmentation.weak(images, rows(0, 200)))
    flips = torch.from_numpy(rows(0, 200).uniform() < 0.5)
    assert 60 < flips.sum() < 140
    assert torch.equal(mirrored[flips], images[flips].flip(3))
    assert torch.equal(mirrored[~flips], images[~flips])


@pytest.mark.parametrize("mirror, shift", [(True, 3), (False, 3), (True, 0), (False, 0)])
def test_default_view_mirrors_pads_and_crops(mirror, shift, rows, images_of):
    """A loop over images with numpy's own flip and reflect padding; all offsets come up."""
    n = 600
    images = images_of(n, 1, 8)
    augmentation = make("d.d.d", mirror=mirror, shift=shift, side=8, channels=1)
    views = ops.to_uint8(augmentation.weak(images, rows(3, n)))
    draws = rows(3, n)
    flips, offsets = draws.uniform() < 0.5, draws.integers(2 * shift + 1, 2)
    assert len(set(map(tuple, offsets.tolist()))) == (2 * shift + 1) ** 2
    for image, view, flip, (row, column) in zip(images.numpy(), views.numpy(), flips, offsets, strict=True):
        image = image[0, :, ::-1] if flip and mirror else image[0]
        padded = np.pad(image, shift, mode="reflect")
        assert (view[0] == padded[row : row + 8, column : column + 8]).all()


def test_strong_view_is_default_then_ctaugment_then_cutout(rows, images_of):
    images, augmentation = images_of(60, 3, 16), make(depth=3)
    augmentation.load_state_dict(RATES)
    view = augmentation.strong(images, rows(9, 60))
    rng = rows(9, 60)
    expected = weak.augment(images, rng, flip=True, shift=2)
    cta = ctaugment.CTAugment(depth=3, threshold=0.8, decay=0.99, device="cpu")
    cta.rates = augmentation.state_dict()["rates"]
    choice, uniform, centres = rng.integers(19, 3), rng.uniform(3, 2, 2), rng.integers(16, 4, 2)
    levels = cta.levels(torch.from_numpy(choice), torch.from_numpy(uniform))
    expected = ctaugment.apply(expected, choice, levels, centres[:, :3])
    for image, (column, row) in zip(expected, centres[:, 3].tolist(), strict=True):
        image[:, max(row - 4, 0) : row + 4, max(column - 4, 0) : column + 4] = 127  # 1 + int(0.499 · 16) = 8
    assert torch.equal(view, expected / 127.5 - 1)


def test_strong_and_weak_views_move_independently(rows, images_of):
    """They draw from the same images but not the same numbers: each has its own mirror and shift."""
    images, augmentation = images_of(50, 3, 16), make("d.d.d")
    rng = rows(0, 50)
    augmentation.weak(images, rng)
    weak_calls = list(rng.calls)
    augmentation.strong(images, rng)
    assert rng.calls[len(weak_calls) : 2 * len(weak_calls)] == weak_calls


def test_strong_views_and_probes_together_are_those_apart(rows, images_of):
    images, views, augmentation = images_of(300, 3, 16), ops.to_float(images_of(90, 3, 16)), make()
    augmentation.update(probe(augmentation, views, rows(2, 90))[1], torch.linspace(0, 1, 90))  # rates that differ
    strong, (probes, policy) = strong_and_probes(augmentation, images, rows(0, 300), views, rows(1, 90))
    assert torch.equal(strong, augmentation.strong(images, rows(0, 300)))
    choice = policy.ops.numpy()
    rng = rows(1, 90)
    assert np.array_equal(choice, rng.integers(len(ctaugment.BINS), 2))
    assert np.array_equal(policy.levels.numpy(), rng.uniform(2, 2))
    alone = ctaugment.apply(ops.to_uint8(views), choice, policy.levels, rng.integers(16, 2, 2))
    assert torch.equal(probes, ops.to_float(alone))


def test_probe_has_no_final_cutout(rows, images_of):
    images, augmentation = images_of(80, 3, 16), make()
    views = ops.to_float(images)
    probes, policy = probe(augmentation, views, rows(0, 80))
    identity = {list(ctaugment.BINS).index(name) for name in ("identity", "translate_x", "translate_y")}
    same = [i for i, pair in enumerate(policy.ops.tolist()) if set(pair) <= identity]
    assert same
    assert torch.equal(probes[same], views[same])


@pytest.mark.parametrize(
    "letter, count, magnitude, cutout",
    [
        ("ra", 2, None, 0),
        ("rac", 2, None, 8),
        ("r3_7_50", 3, 7, 8),
        ("r1_15_0", 1, 15, 0),
        ("r2_4_30", 2, 4, 4),
    ],
)
def test_randaugment_letters(letter, count, magnitude, cutout, rows, images_of):
    images = images_of(60, 3, 16)
    view = make(f"d.d.{letter}").strong(images, rows(9, 60))
    rng = rows(9, 60)
    default = weak.augment(images, rng, flip=True, shift=2)
    choice, magnitudes = rng.integers(14, count), rng.integers(9, count) + 1
    uniform, centres = rng.uniform(count, 2), rng.integers(16, 2)
    if magnitude is None:
        choice = np.where(uniform[..., 0] < 0.5, choice, 0)
    else:
        magnitudes = np.full_like(magnitudes, magnitude)
    expected = randaugment.transform(default, choice, magnitudes, uniform[..., 1] > 0.5)
    half = cutout // 2
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        image[:, max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
    assert torch.equal(view, expected)


@pytest.mark.parametrize("side, pixels", [(32, 16), (96, 16), (16, 8), (8, 4)])
def test_cutout_of_rac_is_16_pixels_or_half_the_side(side, pixels):
    assert randaugment.default_cutout(side) == pixels


def test_autoaugment_applies_one_sub_policy(rows, images_of):
    images = images_of(100, 3, 16)
    view = make("d.d.aac", dataset="svhn").strong(images, rows(9, 100))
    rng = rows(9, 100)
    default = weak.augment(images, rng, flip=True, shift=2)
    drawn, uniform, centres = rng.integers(25), rng.uniform(2, 2), rng.integers(16, 2)
    operations, probabilities, magnitudes = sub_policies("svhn")
    for i in range(100):
        steps = [k for k in (0, 1) if uniform[i, k, 0] < probabilities[drawn[i], k]]
        expected = randaugment.transform(
            default[i : i + 1],
            operations[drawn[i]][None, steps],
            magnitudes[drawn[i]][None, steps],
            uniform[i, steps, 1][None] > 0.5,
        )
        expected = randaugment.cut(expected, 8, centres[i : i + 1])
        assert torch.equal(view[i : i + 1], expected)


def test_state_continues_bit_for_bit(rows, images_of):
    images, first = images_of(40, 3, 16), make()
    _, policy = probe(first, ops.to_float(images), rows(0, 40))
    first.update(policy, torch.linspace(0, 1, 40))
    state = first.state_dict()
    second = make()
    second.load_state_dict(state)
    before = state["rates"].clone()
    for augmentation in (first, second):
        augmentation.update(policy, torch.linspace(1, 0, 40))
    assert torch.equal(state["rates"], before)
    assert torch.equal(first.state_dict()["rates"], second.state_dict()["rates"])
    assert torch.equal(first.strong(images, rows(1, 40)), second.strong(images, rows(1, 40)))
    assert not torch.equal(first.state_dict()["rates"], before)


def test_state_of_another_triple_is_refused():
    assert make("d.d.ra").state_dict() == {} and not make("d.d.ra").uses_ctaugment
    make("d.d.ra").load_state_dict({})
    for augmentation, state in (
        (make("d.d.ra"), make().state_dict()),
        (make(), {}),
        (make(), {"rates": torch.ones(19, 2, 16)}),
    ):
        with pytest.raises(ValueError, match="augmentation state"):
            augmentation.load_state_dict(state)


def test_gathered_policies_update_like_one_worker(rows, images_of):
    """Two workers' probes, gathered in the order of the global batch, against all probes on one worker."""
    views = ops.to_float(images_of(40, 3, 16))
    proximity = torch.rand(40, generator=torch.Generator().manual_seed(0))
    one, two = make(), make()
    one.update(probe(one, views, rows(0, 40))[1], proximity)
    parts = [probe(two, views[part], rows(0, 40, part))[1] for part in (slice(0, 20), slice(20, 40))]
    gathered = ProbePolicy(ops=torch.cat([p.ops for p in parts]), levels=torch.cat([p.levels for p in parts]))
    two.update(gathered, proximity)
    assert (one.state_dict()["rates"] != 1).sum() > 40
    assert torch.equal(one.state_dict()["rates"], two.state_dict()["rates"])
