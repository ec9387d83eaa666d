package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func lookTool(name string) (string, error) { return exec.LookPath(name) }

// TestShell runs the commands of the pages, each page's in a folder of its own, and
// compares what they print where the page says it. Where testdata/browser has a
// script of a page's name, that then looks at the page's site.
func TestShell(t *testing.T) {
	pages, path, modules := readPages(t), linkTools(t), clients(t)
	var counts tally
	for _, p := range pages {
		if !p.has("sh") {
			continue
		}
		t.Run(p.path, func(t *testing.T) { report(t, runPage(t, p, path, modules, &counts)) })
	}
	t.Logf("blocks of commands: %d run, %d started, %d compared with what they print, %d skipped",
		counts["run"], counts["start"], counts["output"], counts["skip"])
}

func (p *page) has(lang string, words ...string) bool {
	for i := range p.blocks {
		if b := &p.blocks[i]; b.lang == lang && strings.HasPrefix(strings.Join(b.words, " "), strings.Join(words, " ")) {
			return true
		}
	}
	return false
}

// A terminal is where the commands of a page run.
type terminal struct {
	site    *site
	folder  string
	env     []string // what blocks begin with
	exports string   // a file with what blocks have exported
	printed string   // by the last block
	running []*exec.Cmd
}

// runPage runs all of a page. What is wrong with a block does not end it.
func runPage(t *testing.T, p *page, path, modules string, counts *tally) (problems []error) {
	t.Helper()
	browser, err := filepath.Abs("testdata/browser/" + strings.TrimSuffix(filepath.Base(p.path), ".md") + ".mjs")
	if err != nil {
		t.Fatal(err)
	}
	folder := workIn(t, modules)
	env := append(os.Environ(), "PATH="+path, "HOME="+folder)
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		t.Setenv(name, t.TempDir())
	}
	for _, name := range []string{"REALTIME_KEY", "REALTIME_SECRET"} {
		t.Setenv(name, "") // so that what takeExports sets ends with the test
	}
	s := newSite(t)
	terminal := &terminal{site: s, folder: folder, env: env, exports: filepath.Join(t.TempDir(), "exports")}
	defer s.close(t)
	defer terminal.close()
	for i := range p.blocks {
		b := &p.blocks[i]
		kind, err := terminal.do(b, p.has("sh", "start"))
		if err != nil {
			problems = append(problems, err)
		}
		if kind != "" {
			counts.add(kind)
		}
	}
	if _, err := os.Stat(browser); err == nil {
		if output, err := exec.Command("node", browser, "http://localhost:"+s.front).CombinedOutput(); err != nil {
			problems = append(problems, fmt.Errorf("%s: in the browser: %w\n%s", p.path, err, output))
		}
	}
	return problems
}

// clients returns the folder with the packages of npm that make deps installs.
func clients(t *testing.T) string {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join(root, "test/node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(modules); err != nil {
		t.Fatalf("what make deps installs is needed: %v", err)
	}
	return modules
}

// workIn has the test work in a folder of its own, with the packages of npm.
func workIn(t *testing.T, modules string) string {
	t.Helper()
	folder := t.TempDir()
	t.Chdir(folder)
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return folder
}

// do does what a block asks for. It returns what that was, "" for nothing.
func (t *terminal) do(b *block, ownBackend bool) (kind string, err error) {
	switch {
	case b.word() == "file" && len(b.words) == 2:
		file := filepath.Join(t.folder, filepath.FromSlash(b.words[1]))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", b.problemf("%v", err)
		}
		return "", os.WriteFile(file, []byte(t.site.place(b.text)), 0o644)
	case b.lang == "caddyfile" && b.word() == "run":
		t.takeExports()
		return "", t.site.load(b, ownBackend)
	case b.lang == "json" && b.word() == "output":
		return "output", compare(b, t.printed)
	case b.word() == "output":
		return "output", compareText(b, t.printed)
	case b.lang != "sh":
		return "", nil
	case b.word() == "skip":
		return "skip", nil
	case b.word() == "start":
		return "start", t.start(b)
	case b.word() == "":
		return "run", t.run(b)
	}
	return "", b.problemf("sh %s: the word is unknown; there are skip and start", b.word())
}

// takeExports has this process, and so the Caddy in it, know what blocks have
// exported, or written into a file .env.
func (t *terminal) takeExports() {
	text, _ := exec.Command("bash", "-c", `set -a; source .env; source "$0"; env -0`, t.exports).Output() // either file may be missing
	for variable := range strings.SplitSeq(string(text), "\x00") {
		if name, value, ok := strings.Cut(variable, "="); ok && strings.HasPrefix(name, "REALTIME_") {
			_ = os.Setenv(name, value) // runPage restores it
		}
	}
}

// command returns the command that runs a block, in a group of processes of its own.
func (t *terminal) command(ctx context.Context, b *block, output, complaints *os.File) *exec.Cmd {
	script := fmt.Sprintf("[ ! -e %[1]q ] || source %[1]q\nset -euo pipefail\n%s\nexport -p >%[1]q\n", t.exports, t.site.place(b.text))
	command := exec.CommandContext(ctx, "bash", "-c", script)
	command.Dir, command.Env = t.folder, t.env
	command.Stdout, command.Stderr = output, complaints
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return command
}

// run runs a block to its end.
func (t *terminal) run(b *block) error {
	output, complaints, err := t.files("run")
	if err != nil {
		return b.problemf("%v", err)
	}
	defer func() { _, _ = output.Close(), complaints.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	failed := t.command(ctx, b, output, complaints).Run()
	t.printed = written(output)
	if failed != nil {
		return b.problemf("%v; it printed\n%s%s", failed, t.printed, written(complaints))
	}
	return nil
}

// start starts a block that serves on the port of the backend, and leaves it
// running.
func (t *terminal) start(b *block) error {
	output, complaints, err := t.files(fmt.Sprint("start", len(t.running)))
	if err != nil {
		return b.problemf("%v", err)
	}
	defer func() { _, _ = output.Close(), complaints.Close() }()
	command := t.command(context.Background(), b, output, complaints) // close ends it
	if err := command.Start(); err != nil {
		return b.problemf("%v", err)
	}
	t.running = append(t.running, command)
	if err := t.site.await(t.site.back); err != nil {
		return b.problemf("%v; it printed\n%s%s", err, written(output), written(complaints))
	}
	return nil
}

// files returns two files for what a command writes. A pipe would be open as long
// as what the command has left running.
func (t *terminal) files(name string) (output, complaints *os.File, err error) {
	if output, err = os.Create(t.exports + "." + name); err != nil {
		return nil, nil, err
	}
	complaints, err = os.Create(output.Name() + ".errors")
	return output, complaints, err
}

func written(file *os.File) string {
	text, _ := os.ReadFile(file.Name())
	return string(text)
}

// close ends what was started.
func (t *terminal) close() {
	for _, command := range t.running {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
		end := time.AfterFunc(patience, func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
		_ = command.Wait() // it says that it was ended
		end.Stop()
	}
}

// compareText holds lines that commands have printed against those that a page says.
func compareText(b *block, printed string) error {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(b.text)), "…", ".*")
	if !regexp.MustCompile("^" + pattern + "$").MatchString(strings.TrimSpace(printed)) {
		return b.problemf("the commands before it print\n%s", printed)
	}
	return nil
}

// compare holds JSON that commands have printed against what a page says. An … in a text
// stands for any text, and a number with a decimal point for any number.
func compare(b *block, printed string) error {
	var want, got any
	if err := json.Unmarshal([]byte(b.text), &want); err != nil {
		return b.problemf("%v", err)
	}
	if err := json.Unmarshal([]byte(printed), &got); err != nil {
		return b.problemf("the commands before it print no JSON, but\n%s", printed)
	}
	if place := differ(want, got); place != "" {
		return b.problemf("%s is otherwise; the commands before it print\n%s", place, printed)
	}
	return nil
}

// differ returns where two values differ, "" if nowhere.
func differ(want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return "an object"
		}
		for name := range object {
			if _, ok := want[name]; !ok {
				return name
			}
		}
		for name := range want {
			if _, ok := object[name]; !ok {
				return name
			}
			if place := differ(want[name], object[name]); place != "" {
				return name + ": " + place
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return "the number of elements"
		}
		for i := range want {
			if place := differ(want[i], list[i]); place != "" {
				return fmt.Sprintf("[%d]: %s", i, place)
			}
		}
		return ""
	case float64:
		if number, ok := got.(float64); ok && (number == want || want != float64(int64(want))) {
			return ""
		}
	case string:
		if text, ok := got.(string); ok && (text == want || strings.Contains(want, "…")) {
			return ""
		}
	default:
		if got == want {
			return ""
		}
	}
	return fmt.Sprintf("%v", want)
}
