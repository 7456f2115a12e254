"""Owns what every command of one call shares: where the settings are, the way to operations, the screen.

Never does anything by itself: settings are read and parts made when a command asks for them, and closed at the end.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from moss.api.plain import plain
from moss.cli.screen import Screen
from moss.errors import UserError

if TYPE_CHECKING:
    import typer

    from moss.api.doors import Door
    from moss.config import Settings
    from moss.wiring import Wiring

FILE = "moss.toml"


@dataclass
class Session:
    """One call of `moss`. `server`: operations go there instead."""

    screen: Screen
    env: Mapping[str, str]
    home: Path | None = None
    config: Path | None = None
    server: str | None = None
    _closing: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Session":
        """From the options of every command and this process's environment."""
        env = dict(os.environ)
        home = given.get("home") or env.get("MOSS_HOME")
        for word in (home, given.get("config")):
            if word is not None and ("\0" in word or len(word) > 4000):
                raise UserError("a path that no file can have")
        return cls(
            screen=Screen.of(given, env),
            env=env,
            home=Path(home).expanduser() if home else None,
            config=Path(given["config"]).expanduser() if given.get("config") else None,
            server=given.get("server") or env.get("MOSS_SERVER"),
        )

    @property
    def file(self) -> Path:
        """The `moss.toml` that is meant."""
        if self.config is not None:
            return self.config
        if self.home is not None and (self.home / FILE).exists():
            return self.home / FILE
        return Path(FILE)

    @cached_property
    def settings(self) -> "Settings":
        """Raises: UserError with the place of the mistake."""
        from moss.settings import load

        self._require_file()
        env = {name: value for name, value in self.env.items() if name not in ("MOSS_HOME", "MOSS_SERVER")}
        overrides: dict[str, object] = {}
        if self.home is not None and self.file.absolute().parent != self.home.absolute():
            overrides["home"] = str(self.home.absolute())
        return load(self.file, env, overrides)

    def _require_file(self) -> None:
        """Raises: UserError that names every place where a moss.toml was looked for."""
        looked = [self.file.absolute()]
        if self.config is None and self.home is not None:
            looked.insert(0, (self.home / FILE).absolute())
        if any(path.exists() or path.is_symlink() for path in looked):
            return
        where = " and no ".join(dict.fromkeys(plain(path, 300) for path in looked))
        mend = "moss init writes one, in the folder of your agent"
        named = "name the folder or the file that there is; " if self.config or self.home else ""
        raise UserError(f"there is no {where}", mend=named + mend)

    @cached_property
    def wiring(self) -> "Wiring":
        """The parts on this machine. Raises: UserError where a server is named."""
        from moss.wiring import Wiring

        if self.server is not None:
            raise UserError("this works only on the machine that MOSS runs on", mend="leave --server out")
        return Wiring(self.settings, self.env)

    @cached_property
    def door(self) -> "Door":
        """The way to operations: in-process, or the named server."""
        from moss.api.doors import HttpDoor, LocalDoor
        from moss.api.operations import Office

        if self.server is not None:
            door = HttpDoor(self.server, self.env.get("MOSS_TOKEN"))
            self._closing.append(lambda: door.__exit__(None, None, None))
            return door
        return LocalDoor(Office(self.wiring), before_change=self.log_to_file)

    def log_to_file(self) -> None:
        """What the engine logs in this call goes to the home's log, never between the lines of an answer."""
        from moss.logs import close, to_file

        if close not in self._closing:
            self._closing.append(close)
            to_file(self.settings.home / "log" / "moss.log")

    def rewired(self) -> "Wiring":
        """The parts by the settings as they stand in the file now; these are the session's own from now on.

        Raises: UserError, and nothing has changed then.
        """
        from moss.wiring import Wiring

        before = self.__dict__.pop("settings", None)
        try:
            settings = self.settings
        except UserError:
            self.__dict__["settings"] = before
            raise
        fresh = Wiring(settings, self.env)
        fresh.__dict__["store"] = self.wiring.store
        self.__dict__["wiring"] = fresh
        return fresh

    @property
    def serve_runs(self) -> bool:
        """Whether a `moss serve` of this home drives runs."""
        from moss.api.around import serve_runs

        return serve_runs(self.settings.home)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for close in reversed(self._closing):
            close()
        wiring = self.__dict__.get("wiring")
        store = wiring.__dict__.get("store") if wiring is not None else None
        if store is not None:
            store.close()


def at(context: "typer.Context") -> Session:
    """The session of a command."""
    session = context.obj
    assert isinstance(session, Session)
    return session
