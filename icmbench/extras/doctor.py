"""`icmbench doctor`: versions, devices, and the missing files of every protocol."""

import platform

import torch

from icmbench import __version__
from icmbench.base.errors import UserError
from icmbench.base.files import cache_root, data_root
from icmbench.experiment import environment
from icmbench.plugins.find import Plugins
from icmbench.plugins.requirements import requirements


def report(plugins: Plugins) -> list[str]:
    """The lines of the report."""
    lines = [f"icmbench {__version__}, commit {environment.commit()}", f"Python {platform.python_version()}"]
    lines += [f"{name} {version}" for name, version in environment.package_versions().items()]
    count = torch.cuda.device_count()
    lines += [f"GPU {number}: {torch.cuda.get_device_name(number)}" for number in range(count)] or ["no GPU: the CPU is used"]
    lines += [f"data folder: {data_root().absolute()}" + ("" if data_root().is_dir() else " (not there)")]
    lines += [f"cache folder: {cache_root()}", ""]
    for kind in ("methods", "tasks"):
        broken = [plugin for plugin in plugins.find(kind).values() if plugin.problem]
        lines += [f"{kind} plugin {plugin.name} cannot be used: {plugin.problem}" for plugin in broken]
    for name in plugins.protocols():
        try:
            missing = [item for item in requirements(plugins.protocol(name)) if not item.present and not item.fetched]
        except UserError as error:
            lines.append(f"{name}: {error}")
            continue
        lines.append(f"{name}: " + ("ready" if not missing else f"{len(missing)} missing"))
        lines += [f"  missing {item.path}  ({item.source})" for item in missing]
    return lines
