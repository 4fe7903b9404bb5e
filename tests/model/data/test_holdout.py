"""Which pictures are held out: by key and seed alone."""

from model.data.holdout import is_held_out, picture_key


def test_about_the_asked_share_is_held_out_and_a_larger_share_holds_the_same_pictures_and_more():
    keys = [f"picture-{n}" for n in range(4000)]
    tenth = {key for key in keys if is_held_out(key, 5, 0.1)}
    third = {key for key in keys if is_held_out(key, 5, 0.3)}
    assert 0.08 < len(tenth) / len(keys) < 0.12
    assert tenth < third


def test_no_share_holds_nothing_and_another_seed_holds_others():
    keys = [f"picture-{n}" for n in range(500)]
    assert not any(is_held_out(key, 0, 0.0) for key in keys)
    assert {k for k in keys if is_held_out(k, 0, 0.2)} != {k for k in keys if is_held_out(k, 1, 0.2)}


def test_one_choice_is_pinned_so_that_no_release_moves_pictures_between_training_and_evaluation():
    assert [n for n in range(40) if is_held_out(f"{n:03d}", 0, 0.2)] == PINNED


def test_a_coco_picture_has_one_key_under_all_its_names():
    names = ("train2014/COCO_train2014_000000581857.jpg", "000000581857.jpg", "coco/train2017/000000581857.jpg")
    assert {picture_key(name) for name in names} == {"coco-581857"}
    assert picture_key("images/BloodImage_00007.jpg") == "BloodImage_00007"


PINNED = [2, 3, 8, 10, 12, 21, 37]
