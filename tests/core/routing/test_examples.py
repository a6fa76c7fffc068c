"""Examples that are read from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Example, examples_of_file


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_json_lines(tmp_path):
    rows = [
        {"prompt": "Why?\n\nReally?", "model": "weak", "quality": 0.25, "call_site": "chat", "answer": "Because.", "note": "ignored"},
        {"prompt": "Wo?", "model": "strong", "quality": 1},
        {"prompt": "When?", "model": "weak", "quality": None},
    ]
    found = examples_of_file(written(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows))))
    assert found == [Example("Why?\n\nReally?", "weak", 0.25, "chat", "Because."), Example("Wo?", "strong", 1.0)]
    assert found.skipped == {"no quality": 1}


def test_csv(tmp_path):
    text = '\ufeffquality,prompt,model,answer\n1,"Say ""hi"",\nplease",weak,hi\n,What?,weak,\n0.5,Über?,strong,\n'
    found = examples_of_file(written(tmp_path / "a.csv", text))
    assert found == [Example('Say "hi",\nplease', "weak", 1.0, answer="hi"), Example("Über?", "strong", 0.5)]
    assert found.skipped == {"no quality": 1}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.csv", "prompt,model\nx,weak\n", "line 2: there is no quality; it has prompt, model"),
        ("a.csv", "prompt,model,quality\nx,weak,1\ny,weak,1.5\n", r"line 3: .*within 0\.\.1, not 1\.5"),
        ("a.csv", "prompt,model,quality\nx,weak,good\n", "line 2: quality must be a number within 0..1, not 'good'"),
        ("a.csv", "prompt,model,quality\nx,weak,nan\n", "line 2: .*within 0..1, not nan"),
        ("a.csv", "prompt,model,quality\nx,weak,1,2\n", "line 2: there are more values than columns"),
        ("a.csv", "prompt,model,quality\n,weak,1\n", "line 2: the prompt is empty"),
        ("a.csv", 'prompt,model,quality\n"x,weak,1\n', "after line 1: unexpected end of data"),
        ("a.csv", f"prompt,model,quality\n{'x' * 200_000},weak,1\n", "after line 1: field larger .*JSON lines"),
        ("a.jsonl", '{"prompt": "x", "model": "weak", "quality": 1}\n{"prompt"\n', "line 2: not JSON"),
        ("a.jsonl", "\n[1]\n", "line 2: a JSON object is needed, not '\\[1\\]'"),
        ("a.jsonl", '{"prompt": 3, "model": "weak", "quality": 1}', "line 1: prompt of the example must be text, not int"),
        ("a.jsonl", '{"prompt": "x", "model": "weak", "quality": NaN}', "line 1: .*within 0..1, not nan"),
        ("a.parquet", "", "end in .csv, .jsonl, .ndjson"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path, name, text, problem):
    with pytest.raises(ConfigurationError, match=problem):
        examples_of_file(written(tmp_path / name, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        examples_of_file(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"prompt,model,quality\nf\xfcr,weak,1\n")
    with pytest.raises(ConfigurationError, match="not UTF-8: byte 22 is 0xfc"):
        examples_of_file(tmp_path / "latin.csv")
