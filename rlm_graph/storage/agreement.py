"""Whether a database is encrypted, and with which key: database and caller mean the same, or nothing is done."""

from __future__ import annotations

from rlm_graph.errors import Hint, StorageError
from rlm_graph.storage.database import Database
from rlm_graph.storage.encryption import Cipher

_PROOF = "rlm-graph"
"""What the database of encrypted runs holds encrypted, so that a wrong key is known at once."""


async def agree(database: Database, cipher: Cipher | None) -> None:
    """Make sure that the database and the caller mean the same by encryption. One without runs takes the caller's.

    Raises `StorageError`.
    """
    proof = await _proof(database)
    if cipher is None:
        if proof is not None:
            raise StorageError(f"{database.place}: is encrypted", hint=Hint("encrypt"))
        return
    if proof is None:
        begin = (
            "INSERT INTO encryption (proof) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM runs) "
            "AND NOT EXISTS (SELECT 1 FROM encryption)"
        )
        await database.write((begin, (cipher.encrypt_text(_PROOF),)))
        proof = await _proof(database)
    if proof is None:
        hints = [Hint("leave_unencrypted"), Hint("name_database")]
        raise StorageError(f"{database.place}: was begun without encryption", hint=hints)
    try:
        cipher.decrypt_text(proof)
    except StorageError as error:
        problem = f"{database.place}: is encrypted with another key; left as it is"
        raise StorageError(problem, hint=Hint("give_key")) from error


async def _proof(database: Database) -> str | None:
    return next((proof for (proof,) in await database.read("SELECT proof FROM encryption LIMIT 1")), None)
