// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// Requirement is one thing the guard needs from machine or privilege to act.
type Requirement struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Cause   string `json:"cause,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// Requirements probes what a guard over the machine's own cgroup v2 needs. A
// guard that lacks some of it can still observe.
func Requirements() []Requirement {
	root, err := cgroupfs.FindRoot()
	if err != nil {
		return append([]Requirement{{
			Name: "cgroup v2", Cause: err.Error(),
			Remedy: cgroupfs.UnifiedRemedy,
		}}, capabilities()...)
	}
	return requirements(root)
}

// Requirements probes what this guard needs. Over a plain directory tree that
// is nothing.
func (g *Guard) Requirements() []Requirement {
	if !g.root.Kernel() {
		return []Requirement{}
	}
	return requirements(g.root.Name())
}

// Missing returns the requirements that are not met.
func Missing(all []Requirement) []Requirement {
	return slices.DeleteFunc(slices.Clone(all), func(r Requirement) bool { return r.Present })
}

func requirements(root string) []Requirement {
	return append([]Requirement{
		probe("cgroup v2", "mount cgroup2 and name its directory as the cgroup root", func() error {
			var fs unix.Statfs_t
			if err := unix.Statfs(root, &fs); err != nil {
				return fmt.Errorf("statfs %s: %w", root, err)
			}
			if uint32(fs.Type) != unix.CGROUP2_SUPER_MAGIC {
				return fmt.Errorf("%s is not a cgroup v2 file system", root)
			}
			return nil
		}),
		probe("memory controller", cgroupfs.MemoryRemedy(root), func() error {
			for _, file := range []string{"cgroup.controllers", "cgroup.subtree_control"} {
				text, err := os.ReadFile(root + "/" + file)
				if err != nil {
					return err
				}
				if !slices.Contains(strings.Fields(string(text)), "memory") {
					return fmt.Errorf("%s/%s does not have memory", root, file)
				}
			}
			return nil
		}),
		probe("writable cgroup v2", "mount "+root+" read-write and run the guard as root", func() error {
			var fs unix.Statfs_t
			if err := unix.Statfs(root, &fs); err != nil {
				return fmt.Errorf("statfs %s: %w", root, err)
			}
			if fs.Flags&unix.ST_RDONLY != 0 {
				return fmt.Errorf("%s is mounted read-only", root)
			}
			file := root + "/cgroup.procs"
			if err := unix.Faccessat(unix.AT_FDCWD, file, unix.W_OK, unix.AT_EACCESS); err != nil {
				return fmt.Errorf("write %s: %w", file, err)
			}
			return nil
		}),
	}, capabilities()...)
}

func capabilities() []Requirement {
	return []Requirement{
		probe("CAP_SYS_ADMIN", "give the process CAP_SYS_ADMIN in the initial user namespace: lease records are trusted extended attributes", func() error {
			if err := capable(unix.CAP_SYS_ADMIN); err != nil {
				return err
			}
			return initialUserNamespace()
		}),
		probe("CAP_DAC_READ_SEARCH", "give the process CAP_DAC_READ_SEARCH: cgroups are opened by id", func() error {
			return capable(unix.CAP_DAC_READ_SEARCH)
		}),
	}
}

// NetworkRequirements probes what network actions need besides. Everything else
// works without.
func NetworkRequirements() []Requirement {
	return []Requirement{
		probe("CAP_BPF", "give the process CAP_BPF and CAP_PERFMON: network actions are BPF programs", func() error {
			return errors.Join(capable(unix.CAP_BPF), capable(unix.CAP_PERFMON))
		}),
		probe("CAP_NET_ADMIN", "give the process CAP_NET_ADMIN: network actions attach programs to interfaces and cgroups", func() error {
			return capable(unix.CAP_NET_ADMIN)
		}),
	}
}

func probe(name, remedy string, try func() error) Requirement {
	if err := try(); err != nil {
		return Requirement{Name: name, Cause: err.Error(), Remedy: remedy}
	}
	return Requirement{Name: name, Present: true}
}

// capable reports whether this process has a capability in force.
func capable(capability int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if data[capability/32].Effective&(1<<(capability%32)) == 0 {
		return fmt.Errorf("the process does not have it (effective set %#x)", uint64(data[1].Effective)<<32|uint64(data[0].Effective))
	}
	return nil
}

// initialUserNamespace: trusted attributes ask for the capability there, not in
// a container's own user namespace.
func initialUserNamespace() error {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("read user namespace: %w", err)
	}
	if strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295" {
		return errors.New("the process runs in a user namespace of its own")
	}
	return nil
}
