"""Where a position inside a YAML text value stands in the file.

Source: YAML 1.1, block scalars: a literal's lines are the file's lines without their indentation.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyoco_server.workflow.yaml_nodes import LINE_BREAK, Node


@dataclass(frozen=True)
class TextPlace:
    """Maps a line and column of a value (from 1) to the file; ``starts`` has one place per line, if known.

    :param line: where the value begins; all that is known of a folded or an escaped text.
    :param starts: file line and columns before the text, for each line of the value.
    """

    line: int
    column: int
    starts: tuple[tuple[int, int], ...] = ()

    def locate(self, line: int, column: int) -> tuple[int, int, bool]:
        """Give the file's line and column, and whether they are exact or just where the value begins."""
        if not self.starts:
            return self.line, self.column, False
        row = min(line, len(self.starts))
        file_line, indent = self.starts[row - 1]
        return file_line, indent + column, True


def place_of_value(node: Node, lines: list[str]) -> TextPlace:
    """Find how the text of the scalar ``node`` lies in the file.

    :param lines: the file, split at :data:`~pyoco_server.workflow.yaml_nodes.LINE_BREAK`.
    """
    if node.style == "|":
        return TextPlace(node.line, node.column, _literal(node, lines))
    if node.style != ">" and node.line == node.end_line and node.line <= len(lines):
        quote = 1 if node.style else 0
        written = lines[node.line - 1][node.column - 1 + quote : node.end_column - 1 - quote]
        if written == node.text:
            return TextPlace(node.line, node.column, ((node.line, node.column - 1 + quote),))
    return TextPlace(node.line, node.column)


def _literal(node: Node, lines: list[str]) -> tuple[tuple[int, int], ...]:
    """The header is on the node's line; what a line of the file has beyond the value's is indentation."""
    rows = LINE_BREAK.split(node.text)
    below = lines[node.line : node.line + len(rows)]
    indent = next((len(full) - len(row) for full, row in zip(below, rows, strict=False) if row), 0)
    return tuple((node.line + 1 + index, indent) for index in range(len(rows)))
