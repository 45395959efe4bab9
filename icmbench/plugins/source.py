"""provisional"""

from icmbench.base.files import sha256
from icmbench.plugins.find import Plugin


def source_digest(plugin: Plugin) -> str:
    return sha256(plugin.path) if plugin.path else ""
