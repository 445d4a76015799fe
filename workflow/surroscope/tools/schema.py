"""Write the JSON schema by which editors complete and check a study's configuration, from its models in `config/`."""

import json
from pathlib import Path

from surroscope.config.study import Study

PLACE = Path(__file__).parents[2] / "schemas" / "config.schema.json"


def schema() -> str:
    """The file's text."""
    return json.dumps(Study.model_json_schema() | {"title": "Surroscope study"}, indent=1) + "\n"


if __name__ == "__main__":
    PLACE.write_text(schema())
