"""Copy-paste text that calls a service: curl, Python and JavaScript."""

import json
import shlex

_CURL = """curl {url}/v1/chat/completions \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d {body}"""

_PYTHON = """import os
from openai import OpenAI  # pip install openai

client = OpenAI(
    base_url="{url}/v1",
    api_key=os.environ["MODELYARD_API_KEY"],
)
answer = client.chat.completions.create(
    model={model},
    messages=[{{"role": "user", "content": {question}}}],
    stream=True,
)
for chunk in answer:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()"""

_JAVASCRIPT = """const answer = await fetch("{url}/v1/chat/completions", {{
  method: "POST",
  headers: {{
    Authorization: `Bearer ${{process.env.MODELYARD_API_KEY}}`,
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({{
    model: {model},
    messages: [{{ role: "user", content: {question} }}],
  }}),
}});
const {{ choices }} = await answer.json();
console.log(choices[0].message.content);"""


def texts(service: str, gateway_url: str, question: str) -> dict[str, str]:
    """One text per language; each runs as it is where MODELYARD_API_KEY is set."""
    body = {"model": service, "messages": [{"role": "user", "content": question}]}
    values = {
        "url": gateway_url,
        "model": json.dumps(service),
        "question": json.dumps(question),
        "body": shlex.quote(json.dumps(body, ensure_ascii=False)),
    }
    templates = {"curl": _CURL, "Python": _PYTHON, "JavaScript": _JAVASCRIPT}
    return {language: text.format(**values) for language, text in templates.items()}
