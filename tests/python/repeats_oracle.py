"""Floors of the products of a history, as docs/model.md has them ("Repeats and successors")."""


def repeats_of(history, floors):
    """{row: floor} of a list of rows; `floors` [10,R] by kind and by how many events ago."""
    came_before = [row in history[:event] for event, row in enumerate(history)]
    found = {}
    for ago, row in enumerate(history[::-1]):
        if row in found:
            continue
        if any(came_before):
            kind = 2 + (history.count(row) > 1) + 2 * came_before[-1] + 4 * came_before[-2]
        else:
            kind = int(len(history) > 2)
        found[row] = floors[kind][min(ago, floors.shape[1] - 1)]
    return found
