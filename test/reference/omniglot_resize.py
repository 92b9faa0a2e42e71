"""Reference values for test/data/omniglot.test.ts: Pillow's own resize of 1-bit images, 105x105 to 28x28.

usage: python3 test/reference/omniglot_resize.py FOLDER_WITH_THE_TWO_ZIPS > test/reference/omniglot_resize.json

Images are written as hexadecimal, a bit a pixel, row-major, the first pixel highest, white 1.
"""

import hashlib
import io
import json
import re
import sys
import zipfile

import PIL
from PIL import Image


def resized(image):
    assert image.mode == "1" and image.size == (105, 105)
    small = image.resize((28, 28), Image.NEAREST)
    return bytes(1 if value else 0 for value in small.getdata())  # 784 values 0 or 1


def pattern(k):
    """A made-up image whose every pixel matters; pattern() in the test draws the same."""
    image = Image.new("1", (105, 105))
    for y in range(105):
        for x in range(105):
            image.putpixel((x, y), ((x * x * (k + 3) + 7 * x * y + 5 * y * y + 11 * y + k) >> 3) & 1)
    return image


def omniglot(folder):
    """SHA-256 of all 32,460 images, 784 bytes of 0 or 1 each, by part, character and drawing."""
    digest, count = hashlib.sha256(), 0
    for part in ["images_background", "images_evaluation"]:
        archive = zipfile.ZipFile(f"{folder}/{part}.zip")
        drawings = [name for name in archive.namelist() if name.endswith(".png")]
        for name in sorted(drawings, key=lambda name: re.match(r"(.*/character\d\d)/\d+_(\d\d)", name).groups()):
            digest.update(resized(Image.open(io.BytesIO(archive.read(name)))))
            count += 1
    return {"images": count, "sha256": digest.hexdigest()}


if __name__ == "__main__":
    patterns = []
    for k in range(3):
        bits = "".join(map(str, resized(pattern(k))))
        patterns.append(f"{int(bits, 2):0196x}")
    made_by = f"test/reference/omniglot_resize.py, Pillow {PIL.__version__}"
    json.dump({"madeBy": made_by, "patterns": patterns, "omniglot": omniglot(sys.argv[1])}, sys.stdout, indent=1)
    print()
