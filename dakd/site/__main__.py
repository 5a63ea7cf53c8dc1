"""``python -m dakd.site --executed FOLDER --out FOLDER``, as `make site` calls it."""

import tyro

from dakd.site.pages import build_site

if __name__ == "__main__":
    print(f"Open {tyro.cli(build_site).resolve()}")
