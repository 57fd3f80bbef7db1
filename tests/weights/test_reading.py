"""Checkpoints are read without running them; what is damaged or no checkpoint is refused."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from nnunet_files import write_checkpoint
from safetensors.torch import save_file

from medseg.errors import MedsegError, MissingPath, UnreadableFile, WrongCheckpoint
from medseg.weights.reading import CONTAINERS, read_checkpoint

TENSORS = {"a.weight": torch.arange(4.0), "b": torch.ones(2, 3)}


def saved(path, content):
    torch.save(content, path)
    return path


def test_all_kinds_of_file_hold_the_same(tmp_path):
    torch.save(TENSORS, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "c.safetensors")
    np.savez(tmp_path / "c.npz", **{name: tensor.numpy() for name, tensor in TENSORS.items()})
    for path in (saved(tmp_path / "c.pt", TENSORS), *tmp_path.glob("c.*")):
        found = read_checkpoint(path).tensors
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("container", CONTAINERS)
def test_tensors_are_found_where_programs_put_them(container, tmp_path):
    path = saved(tmp_path / "c.pth", {"epoch": 3, container: TENSORS})
    checkpoint = read_checkpoint(path)
    assert checkpoint.tensors.keys() == TENSORS.keys()
    assert (checkpoint.container, checkpoint.facts) == (container, {"epoch": 3})


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_words_of_wrappers_are_taken_off(wrapper, tmp_path):
    path = saved(tmp_path / "c.pth", {f"{wrapper}{name}": x for name, x in TENSORS.items()})
    assert read_checkpoint(path).tensors.keys() == TENSORS.keys()


def test_numpy_s_numbers_are_read(tmp_path):
    facts = read_checkpoint(write_checkpoint(tmp_path / "c.pth")).facts
    assert facts["_best_ema"] == 0.4
    assert facts["init_args"]["fold"] == 0


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_is_refused_and_not_run(as_zip, tmp_path):
    path = tmp_path / "c.pth"
    torch.save(TENSORS | {"x": Bomb()}, path, _use_new_zipfile_serialization=as_zip)
    with pytest.raises(WrongCheckpoint, match=r"objects of a program.*state_dict"):
        read_checkpoint(path)


def test_code_in_an_archive_of_numpy_is_refused_and_not_run(tmp_path):
    np.savez(tmp_path / "c.npz", x=np.array([Bomb()], dtype=object))
    with pytest.raises(UnreadableFile, match="whole checkpoint"):
        read_checkpoint(tmp_path / "c.npz")


def test_a_whole_network_is_refused(tmp_path):
    path = saved(tmp_path / "c.pth", torch.nn.Linear(2, 2))
    with pytest.raises(WrongCheckpoint, match="without running what lies in it"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["c.pth", "c.npz", "c.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(name, share, tmp_path):
    path = tmp_path / name
    big = {"a": torch.randn(200, 30), "b": torch.randn(50)}
    if name == "c.npz":
        np.savez(path, **{key: tensor.numpy() for key, tensor in big.items()})
    elif name == "c.safetensors":
        save_file(big, path)
    else:
        torch.save(big, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableFile, match="whole checkpoint"):
        read_checkpoint(path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(UnreadableFile, match=r"whole checkpoint.*never written by torch"):
        read_checkpoint(tmp_path / "text.pth")
    (tmp_path / "empty.pth").touch()
    with pytest.raises(UnreadableFile, match=r"whole checkpoint.*an empty file"):
        read_checkpoint(tmp_path / "empty.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(UnreadableFile, match="whole checkpoint"):
        read_checkpoint(tmp_path / "zip.pth")
    (tmp_path / "list.pth").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises((UnreadableFile, WrongCheckpoint), match="checkpoint"):
        read_checkpoint(tmp_path / "list.pth")
    with pytest.raises(WrongCheckpoint, match="without any"):
        read_checkpoint(saved(tmp_path / "c.pth", {"epoch": 3}))
    with pytest.raises(MissingPath, match="which is none"):
        read_checkpoint(tmp_path / "nothing.pth")


@pytest.mark.parametrize("name", ["zip.pth", "old.pth", "c.npz", "c.safetensors"])
def test_changed_bytes_never_end_in_anything_but_a_sentence(name, tmp_path):
    path, draw = tmp_path / name, np.random.default_rng(0)
    if name == "c.npz":
        np.savez(path, **{key: tensor.numpy() for key, tensor in TENSORS.items()})
    elif name == "c.safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=name == "zip.pth")
    whole, refused = path.read_bytes(), 0
    for _ in range(100):
        content = bytearray(whole)
        for place in draw.integers(len(content), size=4):
            content[place] = draw.integers(256)
        path.write_bytes(bytes(content))
        try:
            read_checkpoint(path)
        except MedsegError:
            refused += 1
    assert refused > 10
