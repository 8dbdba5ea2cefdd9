# usage: zsh -f completion.zsh FOLDER_OF_SFT LINE...   types each line and a tab into a zsh of its own; prints what sft is then given
zmodload zsh/zpty
folder=$1
shift
zpty shell "TERM=dumb PATH=$folder:\$PATH zsh -f -i"
zpty -w shell 'PS1=; autoload -U compinit && compinit -D -u; eval "$(command sft completion zsh)"; sft() { print "given[$*]" }; print rea""dy'
while zpty -r shell line; do
  [[ $line == ready* ]] && break
done
for typed in "$@"; do
  zpty -w -n shell "$typed"$'\t\n'
  while zpty -r shell line; do
    [[ $line == given* ]] && print -r -- "${${line#given\[}%%\]*}" && break
  done
done
zpty -d shell
