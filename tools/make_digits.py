"""Write mnas/datasets/digits.npz from scikit-learn's copy of the UCI optical digits.

Run once, from the project's root, with scikit-learn installed: `python -m tools.make_digits`.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

DESTINATION = Path("mnas/datasets/digits.npz")


def main() -> None:
    """Write the 1,797 images (8x8, grey levels 0..16) and their labels, in the order of the source."""
    digits = load_digits()
    images = digits.images.astype(np.uint8)
    if not np.array_equal(images, digits.images):
        raise SystemExit("scikit-learn's digits are no longer whole grey levels: nothing was written")
    np.savez_compressed(DESTINATION, images=images, labels=digits.target.astype(np.uint8))
    print(f"{DESTINATION}: {len(images)} images, {DESTINATION.stat().st_size} bytes")


if __name__ == "__main__":
    main()
