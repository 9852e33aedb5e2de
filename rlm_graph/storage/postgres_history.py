"""The history of channels that keep changes (`DeltaChannel`), read from PostgreSQL in one round trip.

LangGraph's own saver reads a page of checkpoints, walks from one to its parent on this side, and asks again for what
was written there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rlm_graph.storage.postgres_pipeline import Prepared

HISTORY = Prepared(
    "rlm_graph_history",
    """
WITH RECURSIVE walk AS (
    SELECT channel, 0 AS depth, NULL::text AS checkpoint_id, parent_checkpoint_id AS parent, NULL::text AS version,
        NULL::jsonb AS inline, false AS has_blob
    FROM checkpoints CROSS JOIN unnest($4::text[]) AS channel
    WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND checkpoint_id = coalesce($3::text, (
            SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = $1::text AND checkpoint_ns = $2::text
        ))
    UNION ALL
    SELECT walk.channel, walk.depth + 1, kept.checkpoint_id, kept.parent_checkpoint_id,
        kept.checkpoint -> 'channel_versions' ->> walk.channel,
        nullif(kept.checkpoint -> 'channel_values' -> walk.channel, 'null'::jsonb),
        EXISTS (
            SELECT 1 FROM checkpoint_blobs AS blobs
            WHERE blobs.thread_id = $1::text AND blobs.checkpoint_ns = $2::text AND blobs.channel = walk.channel
                AND blobs.version = kept.checkpoint -> 'channel_versions' ->> walk.channel AND blobs.type <> 'empty'
        )
    FROM walk JOIN checkpoints AS kept ON kept.thread_id = $1::text AND kept.checkpoint_ns = $2::text
        AND kept.checkpoint_id = walk.parent
    WHERE NOT walk.has_blob AND walk.inline IS NULL
)
SELECT 'c', channel, checkpoint_id, version, NULL::bytea, inline::text, NULL, depth::text
FROM walk WHERE depth > 0
UNION ALL
SELECT 'b', channel, NULL, type, blob, NULL, NULL, version
FROM walk CROSS JOIN LATERAL (
    SELECT type, blob FROM checkpoint_blobs AS blobs
    WHERE blobs.thread_id = $1::text AND blobs.checkpoint_ns = $2::text AND blobs.channel = walk.channel
        AND blobs.version = walk.version LIMIT 1
) AS seed
WHERE has_blob
UNION ALL
SELECT 'w', channel, checkpoint_id, type, blob, task_id, task_path, idx::text
FROM checkpoint_writes
WHERE thread_id = $1::text AND checkpoint_ns = $2::text AND channel = ANY($4::text[])
    AND checkpoint_id = ANY(ARRAY(SELECT checkpoint_id FROM walk WHERE depth > 0))
""",
)
"""From a checkpoint's parent back, for each channel, to the checkpoint that holds a value of it.

Rows of eight columns, of which the first says what a row is: a checkpoint on the way, a blob of the value, a write.
What was written is looked up by an array of ids: a join would be planned from what the server guesses of a thread.
"""


class History(NamedTuple):
    """What `BasePostgresSaver._build_delta_channels_writes_history` makes the history of, under its names."""

    chain_by_ch: dict[str, list[str]]
    seed_ver_by_ch: dict[str, str | None]
    seed_inline_by_ch: dict[str, Any]
    stage2_rows: list[Any]


def history(rows: Iterable[Sequence[bytes | None]], channels: Sequence[str]) -> History:
    """Sort the rows that `HISTORY` found."""
    found = History({}, dict.fromkeys(channels), {}, [])
    steps: dict[str, dict[int, str]] = {channel: {} for channel in channels}
    for row in rows:
        blob = row[4]
        texts = ("" if text is None else text.decode() for text in (*row[:4], *row[5:]))
        kind, channel, checkpoint, label, more, path, number = texts
        if kind == "c":
            steps[channel][int(number)] = checkpoint
            if row[5] is not None:
                found.seed_ver_by_ch[channel], found.seed_inline_by_ch[channel] = label, json.loads(more)
        elif kind == "b":
            found.seed_ver_by_ch[channel] = number
            found.stage2_rows.append({"_kind": "b", "channel": channel, "version": number, "type": label, "blob": blob})
        else:
            found.stage2_rows.append(
                {
                    "_kind": "w", "channel": channel, "checkpoint_id": checkpoint, "task_id": more, "task_path": path,
                    "idx": int(number), "type": label, "blob": blob,
                }
            )  # fmt: skip
    for channel, by_depth in steps.items():
        found.chain_by_ch[channel] = [by_depth[depth] for depth in sorted(by_depth)]
    return found
