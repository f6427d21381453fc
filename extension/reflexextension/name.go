// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"strings"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// stableName makes of a cgroup's path a name that survives a restart of the
// workload. A unit of systemd and a container restarted by its runtime come
// back under the same path; a container restarted in a Kubernetes pod under a
// new id, so that there the pod stands for it. A container id outside a pod is
// all that tells one container from another, and stays.
func stableName(path string) string {
	container, pod := cgroupfs.Identity(path)
	if container == "" || pod == "" {
		return path
	}
	return strings.ReplaceAll(path, container, "*")
}
