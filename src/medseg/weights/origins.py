"""Whose checkpoint it is: each origin with the kinds of network that it has, told by one name."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from medseg.errors import WrongCheckpoint
from medseg.weights import attention_gates, dynamic, mednext, medt, monai, transunet
from medseg.weights.names import NameMap, State


class Origin(NamedTuple):
    """Where names come from.

    Attributes:
        name: The repository or release.
        kind: Kind of network.
        mark: Pattern of a name that all of its checkpoints have, and no other origin.
        spec: From tensors to the network's settings.
        names: From settings and tensors to the names.
        sees_rows: Whether its images are rows x columns of a picture.
        is_encoder: Whether it holds an encoder only.
    """

    name: str
    kind: str
    mark: str
    spec: Callable[[State], Any]
    names: Callable[[Any, State], NameMap]
    sees_rows: bool = False
    is_encoder: bool = False


ORIGINS = (
    Origin(
        dynamic.ORIGIN,
        "plain_unet",
        r"^encoder\.stages\.0\.0\.convs\.",
        dynamic.plain_spec,
        dynamic.plain_names,
    ),
    Origin(
        dynamic.ORIGIN,
        "resenc_unet",
        r"^encoder\.stages\.0\.blocks\.0\.conv1\.conv\.",
        dynamic.resenc_spec,
        dynamic.resenc_names,
    ),
    Origin(
        attention_gates.ORIGIN,
        "attention_unet",
        r"^up_concat1\.conv\.conv1\.0\.weight$",
        attention_gates.attention_spec,
        attention_gates.attention_names,
    ),
    Origin(
        transunet.ORIGIN,
        "transunet",
        r"^transformer\.embeddings\.hybrid_model\.root\.",
        transunet.transunet_spec,
        transunet.transunet_names,
        sees_rows=True,
    ),
    Origin(
        transunet.GOOGLE,
        "transunet",
        r"^conv_root/kernel$",
        transunet.google_spec,
        transunet.google_names,
        sees_rows=True,
        is_encoder=True,
    ),
    *(
        Origin(
            medt.ORIGIN,
            kind,
            r"^layer1\.0\.hight_block\.",
            medt.medt_spec,
            medt.medt_names,
            sees_rows=True,
        )
        for kind in ("medt", "medt_gated", "medt_axial", "medt_logo")
    ),
    Origin(
        monai.ORIGIN,
        "unetr",
        r"^vit\.patch_embedding\.",
        monai.unetr_spec,
        monai.unetr_names,
    ),
    Origin(
        monai.ORIGIN,
        "swin_unetr",
        r"^swinViT\.patch_embed\.",
        monai.swin_spec,
        monai.swin_names,
    ),
    Origin(
        monai.SWIN_VIT,
        "swin_unetr",
        r"^patch_embed\.proj\.",
        monai.swin_vit_spec,
        monai.swin_vit_names,
        is_encoder=True,
    ),
    Origin(
        mednext.ORIGIN,
        "mednext",
        r"^enc_block_0\.",
        mednext.mednext_spec,
        mednext.mednext_names,
    ),
    Origin(
        mednext.MONAI,
        "mednext",
        r"^enc_stages\.0\.",
        mednext.monai_spec,
        mednext.monai_names,
    ),
)
"""All checkpoints that can be read."""


def require_convertible(arch: str) -> None:
    """Pass if checkpoints of this kind of network can be read.

    Raises:
        WrongCheckpoint: If no origin is known for the kind.
    """
    known = sorted({origin.kind for origin in ORIGINS})
    if arch not in known:
        raise WrongCheckpoint(
            f"Checkpoints of {', '.join(known)} can be converted.",
            received=f"--arch {arch}",
            cure="Choose one of them.",
        )


def find_origin(state: State, arch: str) -> Origin:
    """Whose tensors these are.

    Args:
        state: Tensors by name.
        arch: Kind of network that they are said to be.

    Raises:
        WrongCheckpoint: If no origin has these names, or the names are those of another kind.
    """
    marked = [origin for origin in ORIGINS if _has_mark(state, origin)]
    if marked and marked[0].name == medt.ORIGIN:
        marked = [origin for origin in marked if origin.kind == medt.medt_kind(state)]
    fitting = [origin for origin in marked if origin.kind == arch]
    if fitting:
        return fitting[0]
    if marked:
        raise WrongCheckpoint(
            f"--arch {arch} names the network of the checkpoint.",
            received=f"weights of {marked[0].kind} with the names of {marked[0].name}",
            cure=f"Say --arch {marked[0].kind}.",
        )
    homes = " or ".join(dict.fromkeys(origin.name for origin in ORIGINS if origin.kind == arch))
    raise WrongCheckpoint(
        f"A checkpoint of {arch} has the names of {homes}.",
        received=f"{len(state)} tensors, the first of them {next(iter(state), 'none')!r}",
        cure="Give a checkpoint of that code, or of another --arch.",
    )


def _has_mark(state: State, origin: Origin) -> bool:
    return any(re.search(origin.mark, name) for name in state)
