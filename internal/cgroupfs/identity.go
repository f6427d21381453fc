// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"regexp"
	"strings"
)

// Container runtimes name a container's cgroup by its 64 hex digits, bare or as
// runtime-<id>.scope. A conmon or other monitor scope carries the same id but
// is not the container.
var (
	containerName = regexp.MustCompile(`^(?:(?:docker|cri-containerd|crio|libpod|nerdctl|podman)-)?([0-9a-f]{64})(?:\.scope)?$`)
	podName       = regexp.MustCompile(`^(?:kubepods.*-)?pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// Identity reads the container id and the Kubernetes pod uid from a cgroup's
// path, "" where it names none. In nested runtimes the innermost counts.
func Identity(path string) (containerID, podUID string) {
	for part := range strings.SplitSeq(path, "/") {
		if m := containerName.FindStringSubmatch(part); m != nil {
			containerID = m[1]
		}
		if m := podName.FindStringSubmatch(part); m != nil {
			podUID, containerID = strings.ReplaceAll(m[1], "_", "-"), ""
		}
	}
	return containerID, podUID
}
