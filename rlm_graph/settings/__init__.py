"""What can be set, and what holds when nothing is set. Every default lives here or in `Budget`."""

from __future__ import annotations

from rlm_graph.settings.executors import PLUGIN as PLUGIN
from rlm_graph.settings.executors import DockerSettings as DockerSettings
from rlm_graph.settings.executors import E2BSettings as E2BSettings
from rlm_graph.settings.executors import ExecutorSettings as ExecutorSettings
from rlm_graph.settings.executors import LocalSettings as LocalSettings
from rlm_graph.settings.executors import PinnedPackage as PinnedPackage
from rlm_graph.settings.executors import PyodideSettings as PyodideSettings
from rlm_graph.settings.models import ModelPrice as ModelPrice
from rlm_graph.settings.models import ModelSettings as ModelSettings
from rlm_graph.settings.models import Policy as Policy
from rlm_graph.settings.models import PoolSettings as PoolSettings
from rlm_graph.settings.plugins import PluginExecutorSettings as PluginExecutorSettings
from rlm_graph.settings.settings import AgentSettings as AgentSettings
from rlm_graph.settings.settings import ContextSettings as ContextSettings
from rlm_graph.settings.settings import MemoryChoice as MemoryChoice
from rlm_graph.settings.settings import MemorySettings as MemorySettings
from rlm_graph.settings.settings import Settings as Settings
from rlm_graph.settings.settings import SnapshotSettings as SnapshotSettings
from rlm_graph.settings.settings import data_dir as data_dir
from rlm_graph.settings.tools import EnvironmentName as EnvironmentName
from rlm_graph.settings.tools import MCPSettings as MCPSettings
from rlm_graph.settings.tools import Protocol as Protocol
from rlm_graph.settings.tools import ToolSettings as ToolSettings
from rlm_graph.settings.tools import WebHost as WebHost
from rlm_graph.settings.trusted import trust as trust
