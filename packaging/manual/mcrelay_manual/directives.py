"""The directives of the manual's pages. Each writes Markdown, which Sphinx parses in its place.

On the page of a verb: `{verb-name}`, `{synopsis}`, `{arguments}`, `{options}`, `{notes}`, `{json}` and
`{exit-status}`. Elsewhere: `{verbs}`, `{exit-codes}`, `{drop-reasons}`, `{send-errors}` and
`{schema-keys} NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from mcrelay_manual import parsers, schema_keys
from mcrelay_manual.code import SEND_ERROR_EXPLANATIONS, VERBS, Drop, Exit, Verb, parser_of, schema


class _Generated(SphinxDirective):
    """A directive whose content is Markdown made by `blocks`."""

    def blocks(self) -> Iterable[str]:
        """Return blocks of Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return the nodes of all blocks. Raises an error if there are none: the heading is for nothing."""
        blocks = list(self.blocks())
        if not blocks:
            raise self.error(f"nothing to show: remove the directive `{self.name}` and its heading")
        return self.parse_text_to_nodes("\n\n".join(blocks))


class _SchemaKeys(SphinxDirective):
    """Every key of the schema that the argument names, with a section for each map."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the keys of the document, and then the sections."""
        found: list[nodes.Node] = []
        for path, definitions in schema_keys.keys(schema(self.arguments[0])):
            content = self.parse_text_to_nodes("\n\n".join(definitions))
            if path:
                name = nodes.make_id(path)
                found.append(nodes.section("", nodes.title(path, path), *content, ids=[name], names=[name]))
            else:
                found += content
        return found


def _from(blocks: Callable[[], Iterable[str]]) -> type[_Generated]:
    """Return a directive that shows the same on any page."""

    class Fixed(_Generated):
        def blocks(self) -> Iterable[str]:
            return blocks()

    return Fixed


def _of_verb(blocks: Callable[[Verb], Iterable[str]]) -> type[_Generated]:
    """Return a directive about the verb of its page, which is named `mcrelay-VERB.1`."""

    class OfVerb(_Generated):
        def blocks(self) -> Iterable[str]:
            name = self.env.docname.removeprefix("mcrelay-").removesuffix(".1")
            for verb in VERBS:
                if verb.name == name:
                    return blocks(verb)
            raise self.error(f"no verb is named {name}")

    return OfVerb


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


def _verbs() -> Iterable[str]:
    return (f"`{verb.name}`\n: {_sentence(verb.help)} See mcrelay-{verb.name}(1)." for verb in VERBS)


def _exit_codes() -> Iterable[str]:
    return (f"{code.value}\n: {code.meaning}." for code in Exit)


def _drop_reasons() -> Iterable[str]:
    return (f"`{drop}`\n: {_sentence(drop.explanation)}" for drop in Drop)


def _send_errors() -> Iterable[str]:
    return (f"`{name}`\n: {_sentence(explanation)}" for name, explanation in SEND_ERROR_EXPLANATIONS.items())


DIRECTIVES: dict[str, type[SphinxDirective]] = {
    "verb-name": _of_verb(lambda verb: [f"mcrelay-{verb.name} - {verb.help}"]),
    "synopsis": _of_verb(lambda verb: [parsers.synopsis(parser_of(verb))]),
    "arguments": _of_verb(lambda verb: parsers.arguments(parser_of(verb), parsers.POSITIONAL)),
    "options": _of_verb(lambda verb: parsers.arguments(parser_of(verb), parsers.OPTIONS)),
    "notes": _of_verb(lambda verb: parsers.epilog(parser_of(verb), parsers.NOTES)),
    "json": _of_verb(lambda verb: parsers.epilog(parser_of(verb), "json")),
    "exit-status": _of_verb(lambda verb: parsers.epilog(parser_of(verb), "exit status")),
    "verbs": _from(_verbs),
    "exit-codes": _from(_exit_codes),
    "drop-reasons": _from(_drop_reasons),
    "send-errors": _from(_send_errors),
    "schema-keys": _SchemaKeys,
}
