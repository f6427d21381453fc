// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// Protected by what they are called: any component of a cgroup's path, with all
// below it. Only names that a service manager gives, so that a container called
// docker-<id>.scope, or a cluster's pods below "kubelet", are not meant.
var protectedUnits = []string{
	"init.scope", "reflex*.service", "otelcol-reflex*.service",
	"kubelet.service", "k3s*.service", "rke2*.service", "k0s*.service", "microk8s*.service", "snap.microk8s.*.service",
	"docker.service", "containerd.service", "crio.service", "cri-o.service", "podman.service", "cri-docker*.service",
	"ssh.service", "sshd.service", "ssh@*.service", "sshd@*.service",
	"systemd-*", "dbus*.service", "udev.service", "polkit.service", "rsyslog.service",
	"NetworkManager*.service", "networking.service", "wpa_supplicant*.service", "dhclient*.service", "dhcpcd*.service", "ifup@*.service",
	"calico*.service", "cilium*.service", "flannel*.service", "ovs-*.service", "ovn-*.service", "openvswitch*.service",
	"multipathd.service", "iscsid.service", "open-iscsi.service", "rpcbind.service", "rpc-*.service", "nfs-*.service", "lvm2-*.service",
	"zfs-*.service", "ceph*.service", "glusterd.service", "drbd*.service", "autofs.service",
}

// Protected by the command name of a process that runs as root: tenants choose
// their own names. A root process in a container can borrow one and is then
// spared, which the audit shows; sparing is the mild mistake.
var protectedCommands = []string{
	"reflexguard", "reflexctl", "otelcol-reflex",
	"kubelet", "kube-proxy", "k3s*", "containerd*", "dockerd", "docker-proxy", "crio", "conmon*", "podman", "runc", "crun",
	"sshd*", "systemd-*", "dbus-daemon", "dbus-broker*", "udevd", "polkitd", "rsyslogd",
	"NetworkManager", "dhclient", "dhcpcd", "wpa_supplicant",
	"calico*", "cilium*", "flanneld", "bird*", "felix", "antrea-*", "ovs-vswitchd", "ovsdb-server", "ovn-controller", "aws-k8s-agent", "aws-vpc-cni",
	"multipathd", "iscsid", "rpcbind", "rpc.*", "nfsd", "lvmpolld", "dmeventd", "zed", "ceph-*", "gluster*", "drbd*", "csi-*", "longhorn*",
}

// Never a target themselves, though what is below them may be: they hold other
// people's workloads.
var collectives = []string{"*.slice", "user@*.service", "kubepods", "besteffort", "burstable", "guaranteed", "docker", "libpod_parent", "lxc", "machine"}

const (
	// maxSubtree bounds the cgroups below a target that are looked into, and
	// maxCommands the processes whose names are read: beyond them a target is
	// too large to judge in the time there is. Its pids are always compared.
	maxSubtree  = 4096
	maxCommands = 2048
)

// safelist knows what is never touched.
type safelist struct {
	extra []string
	procs string // /proc
	pids  pidset // protected with their cgroups and ancestors
}

func newSafelist(extra []string) *safelist {
	s := &safelist{extra: extra, procs: "/proc"}
	s.pids.add(1)
	s.pids.add(os.Getpid())
	s.pids.add(os.Getppid()) // the supervisor
	return s
}

func (s *safelist) protect(pid int) (forget func()) { return s.pids.add(pid) }

// check returns a refusal where a cgroup is protected or holds one that is.
// That the cgroup of a protected process and all its ancestors are spared needs
// no path: a target is refused when such a process is in it or below it.
func (s *safelist) check(d *cgroupfs.Dir, at string) error {
	if name := path.Base(at); matchAny(collectives, name) {
		return refusal(at + " holds other workloads: only what is below it may be a target")
	}
	cgroups, pids := 0, []int(nil)
	err := d.WalkDirs(at, func(d *cgroupfs.Dir, _ uint64, below string) error {
		if cgroups++; cgroups > maxSubtree {
			return refusal(fmt.Sprintf("%s has more than %d cgroups below it", at, maxSubtree))
		}
		if pattern, hit := s.byPath(below); hit {
			return refusal(fmt.Sprintf("%s may not be touched: %s is protected by its name (%s)", at, below, pattern))
		}
		var err error
		pids, err = d.Processes(pids)
		if errors.Is(err, unix.EOPNOTSUPP) && below != at {
			return nil // a threaded cgroup: its processes are listed by its domain, above
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, cgroupfs.ErrGone) {
			return fmt.Errorf("who is in %s cannot be known: %w", below, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.byProcess(at, pids)
}

func (s *safelist) byProcess(at string, pids []int) error {
	for _, pid := range pids {
		if pid == 0 {
			return refusal(at + " has processes outside of the guard's pid namespace: who they are cannot be known")
		}
		if s.pids.has(pid) {
			return refusal(fmt.Sprintf("%s holds process %d, which is protected", at, pid))
		}
	}
	slices.Sort(pids) // daemons are old
	for _, pid := range pids[:min(len(pids), maxCommands)] {
		name, root, known := s.command(pid)
		if !known {
			return refusal(fmt.Sprintf("%s holds process %d, and who that is cannot be known: is /proc mounted with hidepid?", at, pid))
		}
		if root && matchAny(protectedCommands, name) {
			return refusal(fmt.Sprintf("%s holds process %d (%s), which is protected by its name", at, pid, name))
		}
	}
	return nil
}

// byPath returns the pattern that protects a path.
func (s *safelist) byPath(at string) (pattern string, hit bool) {
	for part := range strings.SplitSeq(at, "/") {
		for _, patterns := range [][]string{protectedUnits, s.extra} {
			for _, p := range patterns {
				if !strings.HasPrefix(p, "/") && matches(p, part) {
					return p, true
				}
			}
		}
	}
	for _, p := range s.extra {
		if !strings.HasPrefix(p, "/") {
			continue
		}
		for up := at; up != "/"; up = path.Dir(up) {
			if matches(p, up) {
				return p, true
			}
		}
	}
	return "", false
}

// exists says whether there is a process, whoever may look at it; replaced in tests.
var exists = func(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// command returns the name of a process and whether it runs as root. known is false for
// one that is there and hidden; one that is gone is nobody.
func (s *safelist) command(pid int) (name string, root, known bool) {
	text, err := os.ReadFile(s.procs + "/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return "", false, !exists(pid)
	}
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte{':'})
		switch string(key) {
		case "Name":
			name = string(bytes.TrimSpace(value))
		case "Uid": // real, effective, saved, file system
			ids := bytes.Fields(value)
			root = len(ids) > 1 && (string(ids[0]) == "0" || string(ids[1]) == "0")
			return name, root, true
		}
	}
	return name, root, true
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func validPattern(p string) error {
	if p == "" {
		return errors.New("an empty pattern protects nothing")
	}
	if _, err := path.Match(p, ""); err != nil {
		return err
	}
	if strings.HasSuffix(p, "/") {
		return errors.New("a pattern with a slash at its end protects nothing: leave the slash out")
	}
	if !strings.HasPrefix(p, "/") && strings.Contains(p, "/") {
		return errors.New("a pattern with a slash has to start with one")
	}
	return nil
}
