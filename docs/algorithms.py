"""Write algorithms.md anew, from the strategies' own code: python docs/algorithms.py"""

from pathlib import Path

from hansa.conf.facts import page

if __name__ == "__main__":
    Path(__file__).with_name("algorithms.md").write_text(page(), encoding="utf-8")
