/* version: what --version says. */
#ifndef TOOLS_COMMON_VERSION_H
#define TOOLS_COMMON_VERSION_H

#define ORBITFS_VERSION "0.1"

#endif
