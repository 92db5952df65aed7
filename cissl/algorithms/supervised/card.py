"""What the program knows of supervised training without importing torch."""

from cissl.algorithms.cards import BASE, Card

CARDS = (
    Card(
        name="supervised",
        title="Supervised",
        kind=BASE,
        method="cissl.algorithms.supervised.method:Supervised",
        slots=("labeled",),
        unlabeled=False,
    ),
)
