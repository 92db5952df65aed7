"""What a trial records about the machine: all that its bits depend on."""

import json
import os
import subprocess
import sys

import torch

from cissl.training import provenance as module
from cissl.training.provenance import provenance

AMD = """\
processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse sse2 fma sse4_1 sse4_2 avx f16c avx2 avx512f avx512_bf16 rdrand

processor\t: 1
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse sse2 fma sse4_1 sse4_2 avx f16c avx2 avx512f avx512_bf16 rdrand
"""


def test_model_and_instructions_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "cpuinfo")
    module.CPUINFO.write_text(AMD)
    found = provenance()["processor"]
    assert found["model"] == "AMD EPYC 9R14"
    assert found["instructions"] == ["avx", "avx2", "avx512_bf16", "avx512f", "f16c", "fma", "sse4_1", "sse4_2"]
    assert found["kernels"] == torch.backends.cpu.get_cpu_capability()
    if not torch.cuda.is_available():
        assert provenance()["hardware"] == f"AMD EPYC 9R14, {os.cpu_count()} cores"


def test_without_such_a_file_the_rest_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "nothing")
    found = provenance()["processor"]
    assert found["model"] and found["instructions"] == [] and found["kernels"]


def test_what_was_asked_of_the_kernels_is_on_record():
    asked = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1"}
    code = "import json; from cissl.training.provenance import provenance; print(json.dumps(provenance()))"
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True).stdout
    found = json.loads(output)
    assert found["environment"].items() >= asked.items()
    assert found["processor"]["kernels"] == "DEFAULT" and found["threads"] == 1
    assert not {"PATH", "HOME"} & found["environment"].keys()
