# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_meter_agent_global_optspecs
    string join \n json h/help V/version
end

function __fish_meter_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_meter_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_meter_agent_using_subcommand
    set -l cmd (__fish_meter_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c meter-agent -n "__fish_meter_agent_needs_command" -l json -d 'Print results as JSON'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -s h -l help -d 'Print help'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -s V -l version -d 'Print version'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -f -a "run" -d 'Run the agent until a signal ends it'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -f -a "init" -d 'Write a commented configuration and a new key into a folder; overwrites nothing'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -f -a "check" -d 'Look for mistakes in a configuration without starting anything'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -f -a "keygen" -d 'Make a household key, readable by its owner only, and print its public half'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -f -a "completions" -d 'Print what a shell needs to complete commands and options'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -f -a "man" -d 'Print the manual page, or write one per command'
complete -c meter-agent -n "__fish_meter_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand run" -l config -d 'Configuration file' -r -F
complete -c meter-agent -n "__fish_meter_agent_using_subcommand run" -l json -d 'Print results as JSON'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand init" -l dir -d 'Folder to write into; made when it is not there' -r -F
complete -c meter-agent -n "__fish_meter_agent_using_subcommand init" -l community -d 'Name of the community' -r
complete -c meter-agent -n "__fish_meter_agent_using_subcommand init" -l point -d 'Your metering point' -r
complete -c meter-agent -n "__fish_meter_agent_using_subcommand init" -l operator -d 'Address that signs the operator\'s messages' -r
complete -c meter-agent -n "__fish_meter_agent_using_subcommand init" -l broker -d 'The operator\'s broker, mqtt://host:port' -r
complete -c meter-agent -n "__fish_meter_agent_using_subcommand init" -l json -d 'Print results as JSON'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand init" -s h -l help -d 'Print help'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand check" -l config -d 'Configuration file' -r -F
complete -c meter-agent -n "__fish_meter_agent_using_subcommand check" -l live -d 'Also read every device once and show what it says'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand check" -l json -d 'Print results as JSON'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand check" -s h -l help -d 'Print help'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand keygen" -l out -d 'Where to write it; an existing file is never overwritten' -r -F
complete -c meter-agent -n "__fish_meter_agent_using_subcommand keygen" -l json -d 'Print results as JSON'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand completions" -l json -d 'Print results as JSON'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand completions" -s h -l help -d 'Print help'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand man" -l out -d 'Folder for a page per command, made when it is not there; without it the first page is printed' -r -F
complete -c meter-agent -n "__fish_meter_agent_using_subcommand man" -l json -d 'Print results as JSON'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand man" -s h -l help -d 'Print help'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand help; and not __fish_seen_subcommand_from run init check keygen completions man help" -f -a "run" -d 'Run the agent until a signal ends it'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand help; and not __fish_seen_subcommand_from run init check keygen completions man help" -f -a "init" -d 'Write a commented configuration and a new key into a folder; overwrites nothing'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand help; and not __fish_seen_subcommand_from run init check keygen completions man help" -f -a "check" -d 'Look for mistakes in a configuration without starting anything'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand help; and not __fish_seen_subcommand_from run init check keygen completions man help" -f -a "keygen" -d 'Make a household key, readable by its owner only, and print its public half'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand help; and not __fish_seen_subcommand_from run init check keygen completions man help" -f -a "completions" -d 'Print what a shell needs to complete commands and options'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand help; and not __fish_seen_subcommand_from run init check keygen completions man help" -f -a "man" -d 'Print the manual page, or write one per command'
complete -c meter-agent -n "__fish_meter_agent_using_subcommand help; and not __fish_seen_subcommand_from run init check keygen completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
