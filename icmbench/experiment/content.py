"""Binds a protocol to the data on this machine, whose content becomes part of the experiment's identity."""

from icmbench.api.classes import make_task
from icmbench.plugins.find import Plugins
from icmbench.plugins.source import source_digest
from icmbench.schema.protocol import VAL, Content, Protocol


def bind(protocol: Protocol, plugins: Plugins) -> Protocol:
    """The protocol with the digests of its data and configs on this machine.

    Reads annotations and lists images, but decodes none. Raises UserError for missing or damaged files.
    """
    task, plugin = make_task(plugins, protocol.task, protocol.data, protocol.recognizer), plugins.find("tasks")[protocol.task]
    content = Content(
        train=task.dataset("train").fingerprint(),
        val=task.dataset(VAL).fingerprint(),
        recognizer=task.recognizer_fingerprint(),
        task="" if plugin.built_in else source_digest(plugin),
    )
    return protocol.model_copy(update={"content": content})
