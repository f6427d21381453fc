// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestIdentity(t *testing.T) {
	const uid = "12345678-1234-1234-1234-123456789abc"
	id, other := strings.Repeat("0123456789abcdef", 4), strings.Repeat("fedcba9876543210", 4)
	slice := "-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	static := strings.Repeat("5e", 16) // a static pod's uid is a digest of its manifest
	for name, c := range map[string]struct{ path, container, pod string }{
		"docker, systemd":                   {"/system.slice/docker-" + id + ".scope", id, ""},
		"docker, cgroupfs":                  {"/docker/" + id, id, ""},
		"docker, with an init below":        {"/docker/" + id + "/init", id, ""},
		"docker, systemd's path as a name":  {"/system.slice:docker:" + id, id, ""},
		"docker in docker":                  {"/docker/" + other + "/docker/" + id, id, ""},
		"cri-dockerd":                       {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable" + slice + "/docker-" + id + ".scope", id, uid},
		"containerd, cgroupfs":              {"/kubepods/burstable/pod" + uid + "/" + id, id, uid},
		"containerd, cgroupfs, guaranteed":  {"/kubepods/pod" + uid + "/" + id, id, uid},
		"containerd, systemd":               {"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort" + slice + "/cri-containerd-" + id + ".scope", id, uid},
		"containerd, systemd, guaranteed":   {"/kubepods.slice/kubepods" + slice + "/cri-containerd-" + id + ".scope", id, uid},
		"containerd, systemd's as a name":   {"/system.slice/containerd.service/kubepods-burstable" + slice + ":cri-containerd:" + id, id, uid},
		"kind":                              {"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable" + slice + "/cri-containerd-" + id + ".scope", id, uid},
		"kind, guaranteed":                  {"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods" + slice + "/cri-containerd-" + id + ".scope", id, uid},
		"kind, its node seen from the host": {"/docker/" + other + "/kubelet/kubepods/besteffort/pod" + uid + "/" + id, id, uid},
		"k3s in docker, the pod itself":     {"/docker/" + other + "/kubepods/besteffort/pod" + uid, "", uid},
		"nerdctl":                           {"/system.slice/nerdctl-" + id + ".scope", id, ""},
		"nerdctl, cgroupfs":                 {"/default/" + id, id, ""},
		"CRI-O, systemd":                    {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable" + slice + "/crio-" + id + ".scope", id, uid},
		"CRI-O with crun":                   {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable" + slice + "/crio-" + id + ".scope/container", id, uid},
		"CRI-O, cgroupfs":                   {"/kubepods/burstable/pod" + uid + "/crio-" + id, id, uid},
		"CRI-O's monitor":                   {"/kubepods.slice/kubepods" + slice + "/crio-conmon-" + id + ".scope", "", uid},
		"Podman":                            {"/machine.slice/libpod-" + id + ".scope/container", id, ""},
		"Podman, cgroupfs":                  {"/libpod_parent/libpod-" + id, id, ""},
		"Podman, rootless":                  {"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope/container", id, ""},
		"Podman, quadlet":                   {"/system.slice/web.service/libpod-payload-" + id, id, ""},
		"Podman, quadlet's own":             {"/system.slice/web.service/runtime", "", ""},
		"Podman, in a pod of its own":       {"/machine.slice/machine-libpod_pod_" + other + ".slice/libpod-" + id + ".scope", id, ""},
		"Podman's monitor":                  {"/machine.slice/libpod-conmon-" + id + ".scope", "", ""},
		"a static pod":                      {"/kubepods/burstable/pod" + static + "/" + id, id, static},
		"a static pod, systemd":             {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + static + ".slice", "", static},
		"a class of pods":                   {"/kubepods.slice/kubepods-burstable.slice", "", ""},
		"a mount that names a container":    {"/system.slice/var-lib-docker-containers-" + id + "-mounts-shm.mount", "", ""},
		"a service":                         {"/system.slice/ssh.service", "", ""},
		"a service with a short id":         {"/system.slice/docker-0123456789ab.scope", "", ""},
		"the root":                          {"/", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			container, pod := Identity(c.path)
			assert.Equal(t, c.container, container, c.path)
			assert.Equal(t, c.pod, pod, c.path)
		})
	}
}

func TestUnit(t *testing.T) {
	for path, want := range map[string]string{
		"/":                                 "",
		"/init.scope":                       "init.scope",
		"/system.slice":                     "system.slice",
		"/system.slice/ssh.service":         "ssh.service",
		"/system.slice/web.service/workers": "web.service",
		"/system.slice/system-getty.slice/getty@tty1.service":                           "getty@tty1.service",
		"/system.slice/dev-hugepages.mount":                                             "dev-hugepages.mount",
		"/system.slice/_cpu.service":                                                    "cpu.service",
		"/user.slice/user-1000.slice/session-3.scope":                                   "session-3.scope",
		"/user.slice/user-1000.slice/user@1000.service":                                 "user@1000.service",
		"/user.slice/user-1000.slice/user@1000.service/init.scope":                      "init.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1.scope":   "app-firefox-1.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service/runtime": "redis.service",
		"/system.slice/inner.service/system.slice/ssh.service":                          "inner.service",
		"/lxc.payload.web/system.slice/ssh.service":                                     "",
		"/docker/0123":        "",
		"/.service":           "",
		"/.slice":             "",
		"/kubepods/burstable": "",
	} {
		assert.Equal(t, want, Unit(path), path)
	}
}
