"""Memory: notes that outlive a run, and the functions by which code reads and writes them."""

from __future__ import annotations

from rlm_graph.memory.functions import memory_functions as memory_functions
from rlm_graph.memory.notes import LIST as LIST
from rlm_graph.memory.notes import NAMES as NAMES
from rlm_graph.memory.notes import OFF as OFF
from rlm_graph.memory.notes import RECALL as RECALL
from rlm_graph.memory.notes import Note as Note
from rlm_graph.memory.notes import Notes as Notes
from rlm_graph.memory.notes import owners as owners
