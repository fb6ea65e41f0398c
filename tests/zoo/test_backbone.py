"""The seeded backbone and the closed-form head."""

from __future__ import annotations

import numpy as np

from convfault.zoo import find, head, names
from convfault.zoo.backbone import Backbone

BACKBONE = Backbone(seed=1, residual=r"block\d_last", residual_gain=0.25, smoothness=0.8, offsets=(0.5, 1.5))


def test_a_kernel_depends_on_seed_and_layer_only() -> None:
    first = BACKBONE.kernel("conv", (8, 4, 3, 3), (2, 3), 0, 36)
    again = Backbone(1, "", 1.0, 0.8, (0.0, 1.0)).kernel("conv", (8, 4, 3, 3), (2, 3), 0, 36)
    assert first.dtype == np.float32
    assert (first == again).all()
    assert (first != BACKBONE.kernel("other", (8, 4, 3, 3), (2, 3), 0, 36)).all()


def test_kernels_keep_the_variance_of_what_passes_through() -> None:
    kernel = BACKBONE.kernel("conv", (64, 64, 3, 3), (2, 3), 0, 64 * 9)
    assert 0.5 < kernel.var() * 64 * 9 / 2 < 2


def test_kernels_are_partly_even_over_their_window() -> None:
    rough = Backbone(1, "", 1.0, 0.0, (0.0, 1.0))
    shape, spatial = (32, 32, 3, 3), (2, 3)
    even, uneven = (b.kernel("conv", shape, spatial, 0, 288).mean(axis=spatial).var() for b in (BACKBONE, rough))
    assert even > 3 * uneven


def test_pointwise_kernels_have_no_window_to_be_even_over() -> None:
    rough = Backbone(1, "", 1.0, 0.0, (0.0, 1.0))
    assert (
        BACKBONE.kernel("conv", (4, 4, 1, 1), (2, 3), 0, 4) == rough.kernel("conv", (4, 4, 1, 1), (2, 3), 0, 4)
    ).all()


def test_only_the_ends_of_residual_branches_are_drawn_smaller() -> None:
    assert BACKBONE.scale("block3_last", 500).mean() < 0.3 < BACKBONE.scale("block3_first", 500).mean()
    assert BACKBONE.offset("block3_last", 500).max() < 0.4 < BACKBONE.offset("block3_first", 500).min()


def test_every_description_gives_a_backbone() -> None:
    for name in names():
        for maker in ("torch", "keras"):
            assert Backbone.of(find(name).description, maker).seed > 0


def test_the_head_tells_separable_classes_apart() -> None:
    generator = np.random.RandomState(0)
    labels = np.arange(300) % 10
    centres = generator.standard_normal((10, 40)) * 3
    features = centres[labels] + generator.standard_normal((300, 40)) + 100
    fitted = head.fit(features, labels, 10)
    fresh = centres[labels] + generator.standard_normal((300, 40)) + 100
    assert ((fresh @ fitted.kernel + fitted.bias).argmax(axis=1) == labels).mean() > 0.95
    assert fitted.accuracy > 0.95


def test_the_head_does_not_pretend_on_noise() -> None:
    generator = np.random.RandomState(0)
    fitted = head.fit(generator.standard_normal((300, 40)), np.arange(300) % 10, 10)
    assert fitted.accuracy < 0.3


def test_features_that_never_change_do_no_harm() -> None:
    generator = np.random.RandomState(0)
    labels = np.arange(60) % 3
    features = np.concatenate([np.eye(3)[labels] + generator.standard_normal((60, 3)) * 0.1, np.ones((60, 2))], axis=1)
    assert np.isfinite(head.fit(features, labels, 3).kernel).all()
