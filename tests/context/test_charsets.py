"""Which encoding a file is in that has no mark and is no UTF-8, told by its bytes; what was chosen is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.context import ContextStore

JAPANESE = "2024年1月2日、ポンプが停止しました。担当者は弁を確認し、再起動した。\n"
SIMPLIFIED = "2024年1月2日，水泵停止运转。负责人检查了阀门并重新启动。错误代码为十七。\n"
TRADITIONAL = "2024年1月2日，水泵停止運轉。負責人檢查了閥門並重新啟動。錯誤代碼為十七。\n"
KOREAN = "2024년 1월 2일 펌프가 멈췄습니다. 담당자가 밸브를 확인했습니다.\n"
RUSSIAN = "Насос остановился второго января. Ответственный проверил клапан.\n"
LOG = "2024-01-02 12:00:00 ERROR pump 17: {}\n"

TEXTS = [
    ("cp1252", "Windows-1252", "Preis;5 €\r\nTitel;„Größe“ – neu\r\n"),
    ("cp1252", "Windows-1252", "It’s done. Don’t.\n"),
    ("cp1252", "Windows-1252", "“quoted” ‘x’ – a…\n"),
    ("cp1252", "Windows-1252", "Le café était déjà fermé à l’arrivée des élèves – dommage.\n"),
    ("cp1252", "Windows-1252", "1,Müller,München\n2,Jørgensen,Århus\n"),
    ("cp1252", "Windows-1252", "Ärger\n"),
    ("cp1252", "Windows-1252", "Öl für Ärger über Äpfel\n"),
    ("cp932", "Shift-JIS", JAPANESE),
    ("cp932", "Shift-JIS", "ポンプ停止"),
    ("cp932", "Shift-JIS", "氏名,住所\n山田太郎,東京都千代田区,03-1234\n"),
    ("cp932", "Shift-JIS", LOG.format("ポンプ停止")),
    ("euc_jp", "EUC-JP", JAPANESE),
    ("gb18030", "GB18030", SIMPLIFIED),
    ("gb18030", "GB18030", "水泵停止"),
    ("gb18030", "GB18030", LOG.format("水泵停止")),
    ("big5", "BIG5", TRADITIONAL),
    ("big5", "BIG5", "姓名,地址\n王小明,台北市信義區\n"),
    ("big5", "BIG5", LOG.format("水泵停止")),
    ("cp949", "EUC-KR", KOREAN),
    ("cp1251", "Windows-1251", RUSSIAN),
    ("koi8_r", "KOI8-R", RUSSIAN),
    ("koi8_r", "KOI8-R", LOG.format("Насос остановился")),
    ("cp1250", "Windows-1250", "Pompa zatrzymała się. Źdźbło żółć, właściciel sprawdził zawór.\n"),
    ("iso8859_2", "ISO-8859-2", "Příliš žluťoučký kůň úpěl ďábelské ódy.\n"),
    ("iso8859_15", "ISO-8859-15", "Preis 5 €, Größe für Ärger, Noël\n"),
    ("cp1253", "Windows-1253", "Η αντλία σταμάτησε στις 2 Ιανουαρίου.\n"),
    ("cp1254", "Windows-1254", "Şişli'de ışık söndü; çiğ köfte yedik, ağaç gölgesinde.\n"),
    ("cp1256", "Windows-1256", "توقفت المضخة في الثاني من يناير وفحص المسؤول الصمام.\n"),
]


@pytest.mark.parametrize("times", [1, 400])
@pytest.mark.parametrize(("encoding", "name", "text"), TEXTS)
def test_a_legacy_encoding_is_told_by_its_bytes_and_said(
    store: ContextStore, tmp_path: Path, encoding: str, name: str, text: str, times: int
) -> None:
    (tmp_path / "a.txt").write_bytes((text * times).encode(encoding))

    ref = store.take(tmp_path / "a.txt")

    assert store.load(ref) == text * times
    assert ref.notes == (f"decoded as {name} because it is not UTF-8",)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", [JAPANESE, SIMPLIFIED, TRADITIONAL, KOREAN, RUSSIAN, "plain text\n", "Größe „x“\n"])
@pytest.mark.parametrize("times", [1, 4000])
def test_wide_characters_without_a_mark_are_told_by_their_bytes(
    store: ContextStore, tmp_path: Path, encoding: str, text: str, times: int
) -> None:
    (tmp_path / "a.txt").write_bytes((text * times).encode(encoding))

    ref = store.take(tmp_path / "a.txt")

    assert store.load(ref) == text * times
    assert ref.notes == (f"decoded from {encoding.upper()}, judged by its bytes",)


def test_wide_characters_are_text_in_a_folder_too(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_bytes("plain text\n".encode("utf-16-le"))

    assert store.load(store.take(tmp_path / "docs")) == {"a.txt": "plain text\n"}


def test_a_bad_byte_in_a_legacy_encoding_is_counted_too(store: ContextStore, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes((JAPANESE * 100).encode("cp932") + b"\x83\n" + JAPANESE.encode("cp932"))

    ref = store.take(tmp_path / "a.txt")

    assert str(store.load(ref)).replace("\ufffd", "") == JAPANESE * 100 + "\n" + JAPANESE
    assert ref.notes[1] == "bytes that are not Shift-JIS were replaced by U+FFFD, 1 in all"
