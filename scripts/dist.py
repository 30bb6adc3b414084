"""Write dist/tracking-user-activity-VERSION.tar.gz: the project as it is handed in.

Run by: make dist
    scripts/env.sh python scripts/dist.py

It holds the files that git tracks, as they are in this folder, and neither git's history nor data.
The same files give the same bytes: names are sorted, times and owners are fixed. Unpacked, it needs
no git.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile

from pipeline import VERSION, files, script
from pipeline.settings import ROOT, Settings

NAME = f"tracking-user-activity-{VERSION}"
TIME = 315532800  # 1980: the oldest time that every archive program accepts


def archive() -> bytes:
    """The archive's bytes."""
    content = io.BytesIO()
    # The file's name and time are part of gzip's header, too.
    with (
        gzip.GzipFile("", "wb", 9, content, TIME) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in files.of_project(ROOT):
            data = (ROOT / name).read_bytes()
            info = tarfile.TarInfo(f"{NAME}/{name}")
            info.size, info.mtime = len(data), TIME
            info.mode = 0o755 if os.access(ROOT / name, os.X_OK) else 0o644
            info.uname = info.gname = "root"
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


def main(_: Settings) -> None:
    path = ROOT / "dist" / f"{NAME}.tar.gz"
    data = archive()
    with files.replacing(path, "wb") as file:
        file.write(data)
    print(f"{path.relative_to(ROOT)}: {len(data):,} bytes, {len(files.of_project(ROOT))} files")


if __name__ == "__main__":
    script.run(main)
