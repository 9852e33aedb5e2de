"""`rlm-graph docker build`: an image with packages, for the docker executor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rlm_graph.cli import flags as given


def build(
    package: Annotated[
        list[str] | None,
        typer.Option(
            "--package", "-p", metavar="NAME==VERSION", help="Package to bake in, instead of those in the settings."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="NAME", help="Image to start from; it needs python3 and pip.")
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option("--wheels", metavar="FOLDER", help="Take the packages from these files, and use no network."),
    ] = None,
    config: given.Config = None,
) -> None:
    """Bake packages into an image, so that code in the sandbox can import them without a network.

    The image is named for what is in it. Settings with the same image and packages use it. Its name goes to stdout.
    """
    from rlm_graph.cli.printing import put, say
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.executors.docker.daemon import Daemon
    from rlm_graph.executors.docker.image import build
    from rlm_graph.settings import DockerSettings

    executor: dict[str, Any] = {"kind": "docker"}
    if package:
        executor["packages"] = package
    if image is not None:
        executor["image"] = image
    settings = load_settings(given.settings_flags(executor=executor), config=config).executor
    assert isinstance(settings, DockerSettings)
    put(Daemon(settings.host).call_now(lambda client: build(client, settings, wheels=wheels, tell=say)), exact=True)
