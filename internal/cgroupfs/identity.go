// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"regexp"
	"strings"
)

// Container runtimes name a container's cgroup by its 64 hex digits: bare
// (cgroupfs driver), as runtime-<id> or as runtime-<id>.scope (systemd driver).
// A conmon or other monitor scope carries the same id but is not the container.
// A pod is pod<uid>, or a slice whose name repeats those of its parents, which
// may be more than kubepods (kubelet-kubepods-... where --cgroup-root is set).
var (
	containerName = regexp.MustCompile(`^(?:(?:docker|cri-containerd|crio|libpod(?:-payload)?|nerdctl|podman)-)?([0-9a-f]{64})(?:\.scope)?$`)
	podName       = regexp.MustCompile(`^(?:(?:[^/]+-)?kubepods(?:-[^/]+)?-)?pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// Identity reads the container id and the Kubernetes pod uid from a cgroup's
// path, "" where it names none. In nested runtimes the innermost counts.
func Identity(path string) (containerID, podUID string) {
	for part := range strings.SplitSeq(path, "/") {
		// A runtime told to leave systemd out of it takes the path meant for
		// systemd, "<slice>:<runtime>:<id>", for a name.
		slice, name := part, part
		if f := strings.Split(part, ":"); len(f) == 3 && strings.HasSuffix(f[0], ".slice") {
			slice, name = f[0], f[2]
		}
		if m := podName.FindStringSubmatch(slice); m != nil {
			podUID, containerID = strings.ReplaceAll(m[1], "_", "-"), ""
		}
		if m := containerName.FindStringSubmatch(name); m != nil {
			containerID = m[1]
		}
	}
	return containerID, podUID
}

// unitWithCgroup are the kinds of systemd units that may have a cgroup of their
// own, slices excepted.
var unitWithCgroup = [...]string{".service", ".scope", ".socket", ".mount", ".swap"}

// Unit returns the systemd unit that a cgroup belongs to, "" where its path is
// not one that systemd makes: slices, then a unit, then what the unit made for
// itself. Below a user's manager (user@1000.service) the same begins anew, and
// the user's unit counts. A slice without a unit below it is its own.
func Unit(path string) string {
	unit := ""
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		// A name that would be taken for a file of the cgroup is escaped.
		name := strings.TrimPrefix(part, "_")
		if strings.HasSuffix(name, ".slice") && len(name) > len(".slice") {
			unit = name
			continue
		}
		if !isUnit(name) {
			return unit
		}
		unit = name
		if !strings.HasPrefix(name, "user@") {
			return unit
		}
	}
	return unit
}

func isUnit(name string) bool {
	for _, kind := range unitWithCgroup {
		if strings.HasSuffix(name, kind) && len(name) > len(kind) {
			return true
		}
	}
	return false
}
