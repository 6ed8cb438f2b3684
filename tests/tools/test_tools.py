"""The tools of the job, unmodified, by their own command or documented call: only the URL is ours.

Where an answer's words matter it is `echo`'s, which repeats the question.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.service import ROOT
from tests.tools.conftest import ECHO, TINY, Tool

pytestmark = [pytest.mark.tools, pytest.mark.timeout(1800)]
CALLS = ROOT / "tests/tools/calls"


def test_olmocr_gets_each_page_of_a_pdf_in_the_form_that_it_asks_for(
    tool: Tool, url: str, pages: Path
) -> None:
    if shutil.which("pdftoppm") is None:
        pytest.skip("olmOCR renders pages by pdftoppm: apt install poppler-utils")
    options = ("--guided_decoding", "--workers", "1", "--max_page_retries", "1", "--max_page_error_rate", "1")
    command = ("python", "-m", "olmocr.pipeline", "work", "--server", f"{url}/v1", "--model", TINY)
    said = tool("olmocr==0.4.27", *command, *options, "--pdfs", str(pages))
    assert "Completed pages: 2" in said
    assert "Failed pages: 0" in said


@pytest.mark.parametrize("command", ["surya_layout", "surya_ocr"])
def test_surya_reads_a_page(tool: Tool, url: str, page: Path, tmp_path: Path, command: str) -> None:
    server = {"SURYA_INFERENCE_BACKEND": "vllm", "SURYA_INFERENCE_URL": f"{url}/v1"}
    options = (str(page), "--output_dir", "out")
    said = tool("surya-ocr==0.22.1", command, *options, **server, SURYA_MODEL_CHECKPOINT=TINY)
    assert "Inference error" not in said
    [results] = (tmp_path / "out").rglob("results.json")
    [read] = json.loads(results.read_text(encoding="utf-8"))["page"]
    assert not read.get("error")


def test_chandra_writes_what_each_page_says(tool: Tool, url: str, pages: Path, tmp_path: Path) -> None:
    server = {"VLLM_API_BASE": f"{url}/v1", "VLLM_MODEL_NAME": ECHO, "MAX_VLLM_RETRIES": "0"}
    said = tool("chandra-ocr==0.2.0", "chandra", str(pages), "out", "--method", "vllm", **server)
    assert "Error" not in said
    read = json.loads((tmp_path / "out/two/two_metadata.json").read_text(encoding="utf-8"))
    assert all(page["token_count"] for page in read["pages"])


def test_docling_gets_whole_pages_streamed_or_not(tool: Tool, url: str, pages: Path) -> None:
    said = tool("docling==2.143.0", "python", str(CALLS / "docling_pages.py"), url, str(pages))
    assert said.count("third") == 4


def test_mineru_gets_an_answer_for_each_block(tool: Tool, url: str, page: Path) -> None:
    said = tool("mineru-vl-utils==2.0.7", "python", str(CALLS / "mineru.py"), url, str(page))
    assert said.count("Text Recognition") == 3


def test_daft_asks_about_files_of_any_kind_by_chats_and_by_responses(
    tool: Tool, url: str, page: Path, pages: Path
) -> None:
    call = ("python", str(CALLS / "daft_files.py"), url, str(page), str(pages))
    *_, chats, responses = tool("daft[openai]==0.7.26 numpy pillow", *call).splitlines()
    assert chats == responses
    assert "Red" in chats


def test_datachain_maps_pictures_to_answers(tool: Tool, url: str, page: Path) -> None:
    said = tool(
        "datachain==0.62.0 openai", "python", str(CALLS / "datachain_pictures.py"), url, str(page.parent)
    )
    assert "['What color is it? [" in said


def test_curator_gets_a_row_for_a_row(tool: Tool, url: str) -> None:
    said = tool("bespokelabs-curator==0.1.31", "python", str(CALLS / "curator_rows.py"), url)
    assert all(f"number {number}" in said.splitlines()[-1] for number in range(3))


def test_aiperf_measures_without_an_error(tool: Tool, url: str, tmp_path: Path) -> None:
    load = ("--request-count", "6", "--concurrency", "2", "--synthetic-input-tokens-mean", "20")
    picture = ("--image-width-mean", "96", "--image-height-mean", "96", "--output-tokens-mean", "8")
    target = ("--model", TINY, "--url", url, "--endpoint-type", "chat", "--streaming", "--ui", "none")
    options = (*target, "--tokenizer", str(ROOT / "models/tiny"), "--artifact-dir", str(tmp_path / "out"))
    # Offline it takes no tokenizer from a folder.
    tool("aiperf==0.13.0", "aiperf", "profile", *options, *load, *picture, HF_HUB_OFFLINE="")
    report = json.loads((tmp_path / "out/profile_export_aiperf.json").read_text(encoding="utf-8"))
    assert report["request_count"]["avg"] == 6
    assert not report.get("error_summary")


def test_lmms_eval_scores_answers_to_pictures(tool: Tool, url: str, page: Path, tmp_path: Path) -> None:
    shutil.copytree(CALLS / "lmms_eval", tmp_path / "task")
    row = {"picture": str(page), "question": "What color is the circle?", "answer": "red"}
    (tmp_path / "rows.json").write_text(json.dumps([row]), encoding="utf-8")
    options = ("--tasks", "shapes", "--include_path", "task", "--output_path", "out", "--log_samples")
    model = ("--model", "openai", "--model_args", f"model_version={TINY},base_url={url}/v1")
    tool("lmms-eval==0.7.3 filelock<3.20", "lmms-eval", "eval", *model, *options, "--batch_size", "1")
    [samples] = (tmp_path / "out").rglob("*_samples_shapes.jsonl")
    assert "circle" in samples.read_text(encoding="utf-8")
