"""On call, as a team of AutoGen: python agent.py [TASK]"""

import asyncio
import os
import sys
from pathlib import Path

import requests
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_agentchat.ui import Console
from autogen_ext.models.openai import OpenAIChatCompletionClient

TASK = "Read runbook.md, ask http://127.0.0.2:9090/api/v1/alerts what fires, and write into report.md what to do."


def read_file(path: str) -> str:
    """Read a file."""
    return Path(path).read_text()


def fetch(url: str) -> str:
    """Get what is at a URL."""
    return requests.get(url, timeout=30).text


def write_file(path: str, text: str) -> str:
    """Write a file."""
    Path(path).write_text(text)
    return f"wrote {path}"


KNOWS = {"vision": False, "function_calling": True, "json_output": False, "family": "unknown", "structured_output": False}


async def main():
    # Reads OPENAI_BASE_URL and OPENAI_API_KEY.
    model = OpenAIChatCompletionClient(model=os.environ["MODEL"], model_info=KNOWS)
    tools = [read_file, fetch, write_file]
    engineer = AssistantAgent("engineer", model, tools=tools, max_tool_iterations=10)
    reviewer = AssistantAgent("reviewer", model, system_message="Say APPROVE when the report follows the runbook.")
    team = RoundRobinGroupChat([engineer, reviewer], termination_condition=TextMentionTermination("APPROVE"), max_turns=6)
    await Console(team.run_stream(task=" ".join(sys.argv[1:]) or TASK))


asyncio.run(main())
