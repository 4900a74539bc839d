"""Tables of what was found."""

import statistics


def median(rows, key):
    values = [row[key] for row in rows if key in row]
    return statistics.median(values) if values else None


def ratio(ours, theirs, key):
    """The median of the ratios of each round."""
    pairs = [(our[key], their[key]) for our, their in zip(ours, theirs) if key in our and key in their]
    pairs = [our / their for our, their in pairs if their]
    return f"x {statistics.median(pairs):.2f}" if pairs else "-"


def summary(results, measures, own, peer):
    """A row for each proxy, and what the own one is as a multiple of a peer."""
    found = {key for rows in results.values() for row in rows for key in row}
    shown = [one for one in measures if one[0] in found]
    rows = []
    for name, theirs in results.items():
        values = [(median(theirs, key), form) for key, _, form in shown]
        rows.append([name, *("-" if value is None else form.format(value) for value, form in values)])
    rows.append([f"{own} / {peer}", *(ratio(results[own], results[peer], key) for key, _, _ in shown)])
    return ["proxy", *(title for _, title, _ in shown)], rows


def print_table(head, rows):
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
    print()
