"""On call, as a crew of CrewAI: python agent.py [TASK]"""

import os
import sys
from pathlib import Path

import requests
from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

TASK = "Read runbook.md, ask http://127.0.0.2:9090/api/v1/alerts what fires, and write into report.md what to do."


@tool
def read_file(path: str) -> str:
    """Read a file."""
    return Path(path).read_text()


@tool
def fetch(url: str) -> str:
    """Get what is at a URL."""
    return requests.get(url, timeout=30).text


@tool
def write_file(path: str, text: str) -> str:
    """Write a file."""
    Path(path).write_text(text)
    return f"wrote {path}"


model = LLM(model=os.environ["MODEL"], provider="openai")  # Reads OPENAI_BASE_URL and OPENAI_API_KEY.
oncall = Agent(
    role="On-call engineer",
    goal="Find out what is wrong and say what to do",
    backstory="You follow the runbook.",
    tools=[read_file, fetch, write_file],
    llm=model,
)
task = Task(description=" ".join(sys.argv[1:]) or TASK, expected_output="What you did", agent=oncall)
print(Crew(agents=[oncall], tasks=[task], verbose=True).kickoff())
