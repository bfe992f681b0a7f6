"""Makes what napari draws on, and prints what it is as JSON: a process of `medsamq doctor`."""

from __future__ import annotations

import json

import qtpy
from OpenGL import GL
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext


def describe_window() -> dict[str, str]:
    """Return the Qt binding with its version, and OpenGL's; that is empty where there is none."""
    application = QGuiApplication.instance() or QGuiApplication([])
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    opengl = ""
    if context.create() and context.makeCurrent(surface):
        names = [GL.glGetString(name) for name in (GL.GL_VERSION, GL.GL_RENDERER)]
        opengl = ", ".join(name.decode(errors="replace") for name in names if name)
        context.doneCurrent()
    return {
        "binding": f"{qtpy.API_NAME} with Qt {qtpy.QT_VERSION}",
        "platform": application.platformName(),
        "opengl": opengl,
    }


if __name__ == "__main__":
    print(json.dumps(describe_window()))
