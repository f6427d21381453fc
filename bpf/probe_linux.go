// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	remedyBTF        = "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y"
	remedyKernel     = "boot a newer kernel: the node needs 5.19, the sweep of cgroups 6.1"
	remedyRoot       = "name a directory of a cgroup v2 hierarchy as the root"
	remedyTracepoint = "boot a kernel that has this tracepoint; nothing else depends on it"
	remedyCapability = "run with CAP_BPF and CAP_PERFMON: setcap cap_bpf,cap_perfmon+ep on the binary, AmbientCapabilities=CAP_BPF CAP_PERFMON in the unit, or securityContext.capabilities.add: [BPF, PERFMON]"
	remedyForbidden  = "the capabilities are there: allow the bpf system call in the seccomp or AppArmor profile, and boot without lockdown=confidentiality"
	remedyLimit      = "let it lock memory, as which the memory of BPF counts before Linux 5.11: LimitMEMLOCK=infinity in the unit, or CAP_SYS_RESOURCE"
	remedyPSI        = cgroupfs.PressureRemedy
	remedyBandwidth  = "boot a kernel built with CONFIG_CFS_BANDWIDTH=y"
	remedySchedstats = "boot a kernel built with CONFIG_SCHEDSTATS=y"
	remedySwap       = "boot a kernel built with CONFIG_SWAP=y"
	remedyCompaction = "boot a kernel built with CONFIG_COMPACTION=y"
	remedyReport     = "report this, with the kernel's release, as a bug of Reflex"
)

// missing returns the requirements that are not met.
func missing(all []Requirement) []Requirement {
	var out []Requirement
	for _, r := range all {
		if !r.Present {
			out = append(out, r)
		}
	}
	return out
}

// Probe tries everything that [OpenNode] and [OpenCgroups] use and says what is
// there, without leaving anything attached.
func Probe() []Requirement {
	all := []Requirement{probeBTF(), probeCgroup()}
	all = append(all, probeCapabilities()...)
	node := &Node{}
	_ = node.open() // every failure is a requirement of its own
	all = append(all, node.requirements...)
	_ = node.Close()
	all = append(all, probeSyscalls())

	root, err := cgroupfs.FindRoot()
	if err != nil {
		return append(all, Requirement{"iter/cgroup", false, err.Error(), cgroupfs.UnifiedRemedy})
	}
	cgroups := &Cgroups{}
	_ = cgroups.open(root, 1)
	all = append(all, cgroups.requirements...)
	_ = cgroups.Close()
	return all
}

func probeBTF() Requirement {
	if _, err := btf.LoadKernelSpec(); err != nil {
		return Requirement{"BTF", false, err.Error(), remedyBTF}
	}
	return Requirement{Name: "BTF", Present: true}
}

func probeCgroup() Requirement {
	if _, err := cgroupfs.FindRoot(); err != nil {
		return Requirement{"cgroup v2", false, err.Error(), cgroupfs.UnifiedRemedy}
	}
	return Requirement{Name: "cgroup v2", Present: true}
}

func probeCapabilities() []Requirement {
	effective, err := effectiveCapabilities()
	out := make([]Requirement, 0, 2)
	for _, c := range []struct {
		name string
		bit  uint
	}{{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}} {
		r := Requirement{Name: c.name}
		switch {
		case err != nil:
			r.Cause, r.Remedy = err.Error(), remedyCapability
		case effective&(1<<c.bit|1<<unix.CAP_SYS_ADMIN) == 0: // SYS_ADMIN implies both
			r.Cause, r.Remedy = "not in the effective set of this process", remedyCapability
		default:
			r.Present = true
		}
		out = append(out, r)
	}
	return out
}

func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// privileged says whether both capabilities are held.
func privileged() bool { return len(missing(probeCapabilities())) == 0 }

// Lacking is the requirement called name, unmet for err: an error of this package,
// in one line, and what would help.
func Lacking(name string, err error) Requirement { return failed(name, err) }

// failed is the requirement that err leaves unmet.
func failed(name string, err error) Requirement {
	r := failedAs(name, err, privileged(), raiseLimit() != nil)
	if types := probeBTF(); r.Remedy == remedyKernel && !types.Present {
		r.Remedy = types.Remedy // a newer kernel without would not help
	}
	return r
}

// failedAs is failed in a process that is privileged or not, and whose locked
// memory is limited where that limits BPF or is not.
func failedAs(name string, err error, privileged, limited bool) Requirement {
	r := Requirement{Name: name, Cause: cause(err), Remedy: remedyReport}
	switch {
	case errors.Is(err, errNotUnified):
		r.Remedy = remedyRoot
	case errors.Is(err, errNoTracepoint):
		r.Remedy = remedyTracepoint
	case errors.Is(err, ErrUnsupported) && !errors.Is(err, os.ErrPermission):
		r.Remedy = remedyKernel
	case !privileged:
		// Whatever else it looks like: without CAP_PERFMON the verifier refuses
		// good programs, and the library suspects the limit on locked memory.
		r.Remedy = remedyCapability
		r.Cause = strings.ReplaceAll(r.Cause, suspectedLimit, "")
	case errors.Is(err, os.ErrPermission) && limited:
		r.Remedy = remedyLimit
	case errors.Is(err, os.ErrPermission):
		r.Remedy = remedyForbidden
	}
	return r
}

// suspectedLimit is how the library explains a lacking privilege.
const suspectedLimit = " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)"

// cause is err in one line.
func cause(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// classify says what kind of failure err is, so that callers can tell what the
// kernel lacks ([ErrUnsupported]) from lacking privilege (os.ErrPermission) and
// from a defect. The verifier answers a program it dislikes with the errno of a
// lacking privilege; what it says about the program is kept, the errno is not.
func classify(err error) error {
	var refused *ebpf.VerifierError
	switch {
	case err == nil || errors.Is(err, ErrUnsupported):
		return err
	case lacking(err):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.As(err, &refused) && len(refused.Log) > 0:
		return fmt.Errorf("refused by the verifier: %s", verdict(refused))
	}
	return err
}

// verdict is what the verifier said of a program in the end. Linux 7 goes on to
// explain it, which the library takes for the last word.
func verdict(refused *ebpf.VerifierError) string {
	for i, line := range refused.Log {
		if i > 0 && strings.HasPrefix(line, "Verification failed:") {
			for i--; i > 0 && strings.TrimSpace(refused.Log[i]) == ""; i-- {
			}
			return cause(refused.Cause) + ": " + strings.TrimSpace(refused.Log[i])
		}
	}
	return cause(refused)
}

// lacking says whether the kernel is without what the programs need. The
// kernel answers the unknown with EINVAL, so that it has to be asked again.
func lacking(err error) bool {
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, btf.ErrNotFound) {
		return true
	}
	return errors.Is(features.HaveProgramType(ebpf.Syscall), ebpf.ErrNotSupported) ||
		errors.Is(features.HaveProgramHelper(ebpf.Tracing, asm.FnMapLookupPercpuElem), ebpf.ErrNotSupported)
}
