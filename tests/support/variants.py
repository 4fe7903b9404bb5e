"""Nano as the large sizes are: one view of the whole and 2 x 2 sub-images, some of which are padding and become skip tokens."""

from model.variants import ViewGeometry, variant_named

NANO = variant_named("nano").model_copy(update={"geometry": ViewGeometry(grid=2, conv_px=64, vit_px=28)})
