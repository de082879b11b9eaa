"""`python -m kcap_ray.cli`: the same as `kcap`."""

from kcap_ray.cli.main import app

if __name__ == "__main__":
    app()
