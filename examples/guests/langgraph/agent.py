"""On call, as a LangGraph graph: python agent.py [TASK]"""

import os
import sys
from pathlib import Path

import requests
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

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


TOOLS = [read_file, fetch, write_file]
model = ChatOpenAI(model=os.environ["MODEL"]).bind_tools(TOOLS)  # Reads OPENAI_BASE_URL and OPENAI_API_KEY.

graph = StateGraph(MessagesState)
graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
graph.add_node("tools", ToolNode(TOOLS, handle_tool_errors=True))  # The model shall read what went wrong.
graph.add_edge(START, "model")
graph.add_conditional_edges("model", tools_condition)
graph.add_edge("tools", "model")

task = {"messages": [("user", " ".join(sys.argv[1:]) or TASK)]}
for update in graph.compile().stream(task, stream_mode="values"):
    update["messages"][-1].pretty_print()
