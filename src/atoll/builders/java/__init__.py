"""Java services: `maven` and `gradle` projects, and plain sources (`java`) that need nothing but a JDK.

What stays: `NAME.jar` and `lib/*.jar`, or `classes` of plain sources, and files that are no sources. All of them are on
the CLASSPATH of the run command, so that `java shop.Main` starts it, as `java -jar NAME.jar` does where the jar names
its main class. Tests are not run here. Dependencies are kept where Maven and Gradle keep them.
"""

from atoll.builders.java.gradle import GradleBuilder
from atoll.builders.java.maven import MavenBuilder
from atoll.builders.java.plain import JavaBuilder

__all__ = ["GradleBuilder", "JavaBuilder", "MavenBuilder"]
