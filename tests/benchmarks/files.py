"""How each library moves a file, as its documentation says; runs where it is installed."""

import os
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any


def cruds_core_download(url: str, name: str) -> None:
    with import_module("cruds_core").Client(url) as client, tempfile.TemporaryDirectory() as folder:
        client.download(name, folder)


def cruds_core_upload(url: str, path: str) -> None:
    with import_module("cruds_core").Client(url) as client, Path(path).open("rb") as file:
        client.create("upload", None, files={"file": ("file", file)})


def urllib3_download(url: str, name: str) -> None:
    manager: Any = import_module("urllib3").PoolManager()
    with (
        manager.request("GET", f"{url}/{name}", preload_content=False) as answer,
        tempfile.TemporaryFile() as file,
    ):
        shutil.copyfileobj(answer, file)


def urllib3_upload(url: str, path: str) -> None:
    fields = {"file": ("file", Path(path).read_bytes())}
    import_module("urllib3").PoolManager().request("POST", f"{url}/upload", fields=fields)


def requests_download(url: str, name: str) -> None:
    with (
        import_module("requests").get(f"{url}/{name}", stream=True) as answer,
        tempfile.TemporaryFile() as file,
    ):
        for chunk in answer.iter_content(1 << 16):
            file.write(chunk)


def requests_upload(url: str, path: str) -> None:
    with Path(path).open("rb") as file:
        import_module("requests").post(f"{url}/upload", files={"file": file})


def niquests_download(url: str, name: str) -> None:
    with (
        import_module("niquests").get(f"{url}/{name}", stream=True) as answer,
        tempfile.TemporaryFile() as file,
    ):
        for chunk in answer.iter_content(1 << 16):
            file.write(chunk)


def niquests_upload(url: str, path: str) -> None:
    with Path(path).open("rb") as file:
        import_module("niquests").post(f"{url}/upload", files={"file": file})


def _httpx_download(package: Any, url: str, name: str) -> None:
    with package.stream("GET", f"{url}/{name}") as answer, tempfile.TemporaryFile() as file:
        for chunk in answer.iter_bytes():
            file.write(chunk)


def _httpx_upload(package: Any, url: str, path: str) -> None:
    with Path(path).open("rb") as file:
        package.post(f"{url}/upload", files={"file": file}, timeout=60)


def httpx_download(url: str, name: str) -> None:
    _httpx_download(import_module("httpx"), url, name)


def httpx_upload(url: str, path: str) -> None:
    _httpx_upload(import_module("httpx"), url, path)


def httpx2_download(url: str, name: str) -> None:
    _httpx_download(import_module("httpx2"), url, name)


def httpx2_upload(url: str, path: str) -> None:
    _httpx_upload(import_module("httpx2"), url, path)


def pycurl_download(url: str, name: str) -> None:
    curl = import_module("pycurl")
    handle = curl.Curl()
    handle.setopt(curl.URL, f"{url}/{name}")
    with tempfile.TemporaryFile() as file:
        handle.setopt(curl.WRITEDATA, file)
        handle.perform()


def pycurl_upload(url: str, path: str) -> None:
    curl = import_module("pycurl")
    handle = curl.Curl()
    handle.setopt(curl.URL, f"{url}/upload")
    handle.setopt(curl.HTTPPOST, [("file", (curl.FORM_FILE, path))])
    with Path(os.devnull).open("wb") as file:
        handle.setopt(curl.WRITEDATA, file)
        handle.perform()


def cruds1_download(url: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        import_module("cruds").Client(url).download(name, folder)


def cruds1_upload(url: str, path: str) -> None:
    fields = {"file": ("file", Path(path).read_bytes())}
    import_module("cruds").Client(url).create("upload", None, files=fields)
