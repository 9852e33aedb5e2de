"""What the tests of agents share: agents with a scripted model, and a context store of their own."""

from tests.graphs.conftest import agent as agent
from tests.graphs.conftest import contexts as contexts
